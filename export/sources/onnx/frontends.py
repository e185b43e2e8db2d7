"""`--frontend`: a preset, a description, Hugging Face's configuration, or another graph. Never torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....errors import SourceError
from ...frontends.description import described
from ...frontends.fields import Fields, merged, read_toml, settings
from ...frontends.frontend import Described, Frontend, from_description
from ...frontends.hugging_face import read_preprocessor
from ...frontends.presets import PRESETS, preset_fields
from .front_graph import read_front


def open_frontend(text: str, given: Sequence[str] = (), sample_rate: int | None = None) -> Frontend:
    """The front end that `text` names.

    given: fields that replace its own, as "mel.bins=64"
    sample_rate: of the waveforms, for a graph, and for a preset in place of its own
    Raises SourceError where there is none of that name, or where it is no front end.
    """
    path = Path(text)
    if path.suffix.lower() == ".onnx":
        if given:
            raise SourceError(f"{text}: is a graph; --frontend-set is for what is described")
        if sample_rate is None:
            raise SourceError(f"{text}: a graph does not say its sample rate; give --sample-rate")
        return read_front(path, sample_rate)
    over = settings(given)
    if sample_rate is not None and text in PRESETS:
        over = merged({"sample_rate": sample_rate}, over)
    return describe(text, over)


def describe(text: str, over: Fields) -> Described:
    """The front end of a preset or a file, with the fields of `over` in place of its own."""
    path, suffix = Path(text), Path(text).suffix.lower()
    if text in PRESETS:
        fields: Fields = preset_fields(text)
    elif suffix == ".toml":
        fields = read_toml(path)
        if (name := fields.pop("preset", None)) is not None:
            if name not in PRESETS:
                raise SourceError(f"{text}: no preset {name!r}; the presets are {', '.join(PRESETS)}")
            fields = merged(preset_fields(str(name)), fields)
    elif suffix == ".json":
        fields = read_preprocessor(path)
    else:
        raise SourceError(
            f"{text}: no front end; give a preset ({', '.join(PRESETS)}), a description (.toml), a Hugging "
            "Face preprocessor_config.json, or a graph (.onnx)"
        )
    return from_description(described(merged(fields, over), text), f"the front end {path.name}")
