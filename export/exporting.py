"""`export_bundle`: from whatever is exported to a bundle, in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SourceError
from .bundle.clips import read_clips
from .bundle.target import check_target
from .bundle.write import write_bundle
from .source.exportable import Exportable, with_aggregate, with_hop, with_window
from .sources import open_source, require_packages

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Aggregation, Manifest
    from .sources.adapter.adapter import Adapter


def export_bundle(
    source: Adapter | Exportable | Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    force: bool = False,
    decoder: Path | str | bool = True,
    interpreter: Path | str | bool = True,
    apex: Path | str | None = None,
    window_seconds: float | None = None,
    aggregate: Aggregation | None = None,
    hop_seconds: float | None = None,
    sounds: Path | str | None = None,
    calibration: Path | str | None = None,
    licence: str | None = None,
    attribution: str | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    on_doubt: Callable[[str], None] | None = None,
) -> Manifest:
    """Export a model to a new bundle, as `earmark export` does.

    The graphs are measured against the model on synthesised and, with `sounds`, on real sound; a bundle that
    disagrees with it is not written.

    Args:
        source: An `Adapter`; a run directory; the output folder of SpeechBrain's interpret recipe; the folder
            of a Hugging Face model; a checkpoint of PANNs; or
            "module:factory", a function that returns an `Adapter`.
        out: Folder of the bundle. It appears as a whole, or not at all.
        name: Name of the bundle; None: the source's.
        force: Replace a bundle that lies at `out`. Nothing but a bundle is ever replaced.
        decoder: True: the source's own, where it has one; False: none, so no masks; a path: the run directory
            of `earmark train lmac` over this source.
        interpreter: The same for the interpreter and `earmark train l2i`: without one, no components.
        apex: The folder of the U that `earmark train apex` learnt over this source; None: a run's own.
        window_seconds: Longest sound that the model takes at once, in seconds; None: the source's.
        aggregate: How the scores of a long sound's windows are joined, "mean", "max" or "lme"; None: the
            source's.
        hop_seconds: From one window of a long sound to the next, in seconds, at most a window; None: the
            source's, half a window.
        sounds: Folder of real clips; up to 5 of them join the measurement.
        calibration: Folder of 80 or more real clips; with it the bundle gets an 8-bit classifier, too.
        licence: Licence of the weights, for manifest and card; None: the source's.
        attribution: Whom to credit, for manifest and card; None: the source's.
        seed: Seed of the synthesised sound, 0 or more.
        progress: Called with the name of each step.
        on_doubt: Called with each thing that the user should look at before believing the bundle; None:
            `warnings.warn`.

    Returns:
        The manifest of the bundle, with the measured differences in `parity`.

    Raises:
        SourceError: The source is incomplete or not what it says.
        BundleError: Something else lies at `out`, or another process is writing there.
        ParityError: The graphs disagree with the model by more than the limit.
        DataError: A folder of clips cannot be used.
        WriteError: A file cannot be written.
        MissingDependencyError: PyTorch or another package of the extra "export" is not installed.

    Examples:
        >>> from earmark.export import export_bundle
        >>> manifest = export_bundle("my_model:adapter", "bundle", sounds="clips")  # doctest: +SKIP
        >>> manifest.parity.fp32["logits"].max_abs < 1e-4  # doctest: +SKIP
        True

    """
    target = Path(out)
    check_target(target, force=force)
    # Without it nothing can be measured at the end.
    require_packages("onnxruntime")
    opened = open_source(source, decoder=decoder, interpreter=interpreter, apex=apex)
    if window_seconds is not None:
        opened = with_window(opened, window_seconds)
    if aggregate is not None:
        opened = with_aggregate(opened, aggregate)
    if hop_seconds is not None:
        opened = with_hop(opened, hop_seconds)
    if calibration is not None and opened.task == "regression":
        raise SourceError(
            f"{opened.name}: gives values; a classifier of 8 bits is held to labels and their ranks: leave "
            "int8 out"
        )
    for doubt in opened.doubts:
        if on_doubt is None:
            warnings.warn(f"{opened.name}: {doubt}", stacklevel=2)
        else:
            on_doubt(doubt)
    return write_bundle(
        opened,
        target,
        name=name,
        force=force,
        seed=seed,
        clips=[] if sounds is None else read_clips(Path(sounds), opened),
        calibration=None if calibration is None else Path(calibration),
        licence=licence,
        attribution=attribution,
        progress=progress,
    )
