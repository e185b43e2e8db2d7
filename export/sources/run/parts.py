"""A source with the trained parts that were asked for: decoder, interpreter, U."""

from __future__ import annotations

from pathlib import Path

from ....errors import RunError, SourceError
from ...source.exportable import Exportable
from ...source.source import Source
from ..onnx.file import OnnxSource
from ..onnx.trainable import trainable
from .config import DecoderConfig, InterpreterConfig
from .directory import RunDirectory, RunPart
from .explainers import explained_by
from .rotation import with_apex


def with_parts(
    source: Exportable,
    decoder: Path | str | bool,
    interpreter: Path | str | bool,
    apex: Path | str | None,
) -> Exportable:
    """The source with the parts that are asked for, as `sources.open_source` has them.

    Raises SourceError where they do not belong to it, or it is none that has parts to choose; RunError where
    one is missing, unfinished or damaged.
    """
    if apex is not None:
        try:
            source = with_apex(source, Path(apex))
        except RunError as error:
            raise SourceError(str(error)) from error
    if decoder is True and interpreter is True:
        return source
    decoder_run, interpreter_run = _run(decoder, "decoder"), _run(interpreter, "interpreter")
    if isinstance(source, OnnxSource) and (decoder_run or interpreter_run):
        # A graph from a file shows the feature maps that its parts read.
        read = [] if decoder_run is None else decoder_run.read_config(DecoderConfig).inputs
        if interpreter_run is not None:
            read = [*read, *interpreter_run.read_config(InterpreterConfig).inputs]
        source = trainable(source, list(dict.fromkeys(read)))
    if not isinstance(source, Source):
        raise SourceError(
            f"{source.name}: has no decoder or interpreter to choose: it is no source in PyTorch"
        )
    explained = explained_by(
        source, decoder=decoder_run or decoder is True, interpreter=interpreter_run or interpreter is True
    )
    if decoder_run is not None and explained.decoder is None:
        raise SourceError(
            f"{interpreter}: an interpreter by design is a classifier of its own, for which the decoder "
            f"{decoder} was not trained; leave the decoder out"
        )
    return explained


def _run(part: Path | str | bool, name: RunPart) -> RunDirectory | None:
    return None if isinstance(part, bool) else RunDirectory(Path(part), name)
