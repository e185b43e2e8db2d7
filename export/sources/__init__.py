"""Sources of export: one file a kind; `resolve` finds out which kind a text names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import SourceError

if TYPE_CHECKING:
    from ..source.source import Source

_FACTORY = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


def resolve(text: str, *, allow_missing_decoder: bool = False, interpreter: bool = True) -> Source:
    """The source that `text` names: a SpeechBrain output folder, a run directory, or `module:factory`.

    An .onnx file needs to be told more: `onnx.file.load`.
    allow_missing_decoder: a SpeechBrain folder without a decoder is a source without masks, and a run
        directory is opened without its own, which may be unfinished
    interpreter: False leaves a run's or a folder's interpreter out; a run that is a classifier by design is
        then the classifier that it began as
    Raises SourceError where it is none of them or the source is incomplete.
    """
    path = Path(text)
    if path.is_dir():
        if (path / "save").is_dir() or (path / "hyperparams.yaml").is_file():
            from ..source.source import without_interpreter
            from .speechbrain import folder as speechbrain

            opened = speechbrain.load(path, allow_missing_decoder=allow_missing_decoder)
            return opened if interpreter else without_interpreter(opened)
        from .run.source import load as load_run

        return load_run(path, decoder=not allow_missing_decoder, interpreter=interpreter)
    if path.suffix == ".onnx":
        raise SourceError(
            f"{text}: an .onnx file says neither labels nor sample rate; give --labels and --sample-rate"
        )
    if path.exists():
        raise SourceError(
            f"{text}: is a file; give a run directory, a SpeechBrain output folder or module:factory"
        )
    if _FACTORY.match(text):
        from .adapter import adapter as factory

        return factory.load(text)
    raise SourceError(
        f"{text}: no such folder, and not module:factory; give a run directory, a SpeechBrain output "
        "folder or module:factory"
    )
