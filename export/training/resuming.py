"""Whether a run that is resumed was begun as it is now asked for."""

from __future__ import annotations

from ...errors import RunError
from ..sources.run.config import Config
from ..sources.run.directory import RunDirectory

# Fields that an option of the command decides.
_OPTIONS = {"noise_sha256": "--noise", "background_sha256": "--background-sounds", "start": "--start"}
# Hashes of what it was trained over.
_OVER = {"model_sha256": "model", "classifier_sha256": "classifier"}


def begin(run: RunDirectory, config: Config, *, resume: bool) -> None:
    """Write the config of a new run, or compare it with that of the run that is resumed.

    Args:
        run: The part of a run directory.
        config: What the run is to be begun with.
        resume: Go on with a run that was begun; a new one is begun where there is none.

    Raises:
        RunError: The run was begun with other data, settings or options.

    """
    if resume and run.config_path.exists():
        require_same(run, config)
    else:
        run.write_config(config)


def require_same(run: RunDirectory, config: Config) -> None:
    """Raise RunError where the run was begun with another config, by the fields that both must share."""
    stored = run.read_config(type(config))
    for field in config.shared:
        old, new, what = getattr(stored, field), getattr(config, field), field
        if old == new:
            continue
        if field in _OPTIONS:
            raise RunError(f"{run.path}: {_other_option(_OPTIONS[field], old, new)}")
        if field in _OVER:
            raise RunError(f"{run.path}: was started over another {_OVER[field]}; start anew elsewhere (-o)")
        if isinstance(old, dict) and isinstance(new, dict):
            # What an older earmark did not know was as it is by default: settings were read so.
            old = {**new, **old}
            if old == new:
                continue
            what = next(k for k in {**old, **new} if old.get(k) != new.get(k))
            old, new = old.get(what), new.get(what)
        raise RunError(f"{run.path}: was started with {what} = {old}, not {new}; resume it with the same")


def _other_option(option: str, old: object, new: object) -> str:
    """Why a run cannot be resumed with another folder for `option`, or without one."""
    if not old:
        return f"was started without {option}; leave {option} out"
    how = f"another {option}" if new else f"{option}, which is missing now"
    return f"was started with {how}; resume it with the same"
