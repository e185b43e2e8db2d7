"""Sources of export, a folder for each kind: which kind is named, and which of its parts are opened."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import MissingDependencyError, RunError, SourceError
from ..source.exportable import Exportable
from .foreign import CHECKPOINTS, refuse_foreign

if TYPE_CHECKING:
    from ..source.source import Source
    from .adapter.adapter import Adapter

_FACTORY = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


def open_source(
    source: Adapter | Exportable | Path | str,
    *,
    decoder: Path | str | bool = True,
    interpreter: Path | str | bool = True,
    apex: Path | str | None = None,
) -> Exportable:
    """Open what is to be exported.

    Args:
        source: An `Adapter`, a source that is open already, or what `resolve` recognises.
        decoder: True: the source's own, where it has one; False: none; a path: that of a run directory.
        interpreter: The same for the interpreter.
        apex: The folder of a U that was learnt over the source; None: its own, where it has one.

    Raises:
        SourceError: The source is incomplete or not what it says, or the parts do not belong to it.
        MissingDependencyError: PyTorch or another package of the extra "export" is not installed.

    """
    if isinstance(source, Exportable) and decoder is True and interpreter is True and apex is None:
        return source
    if isinstance(source, str | Path):
        refuse_foreign(str(source))
    require_packages("torch", "onnxscript", "safetensors", "yaml")
    from ..source.source import Source
    from .adapter.adapter import Adapter, from_adapter

    if isinstance(source, Adapter):
        opened: Exportable = from_adapter(source, source.name)
    elif isinstance(source, Exportable):
        opened = source
    else:
        opened = resolve(
            str(source), allow_missing_decoder=decoder is not True, interpreter=interpreter is True
        )
    if apex is not None:
        opened = _with_apex(opened, Path(apex))
    if decoder is True and interpreter is True:
        return opened
    opened = _with_maps(opened, decoder, interpreter)
    if not isinstance(opened, Source):
        raise SourceError(
            f"{opened.name}: has no decoder or interpreter to choose: it is no source in PyTorch"
        )
    return _with_parts(opened, decoder, interpreter)


def _with_apex(opened: Exportable, folder: Path) -> Exportable:
    """The source with a learnt U. Raises SourceError where it was learnt over another, or is not finished."""
    from .run.rotation import with_apex

    try:
        return with_apex(opened, folder)
    except RunError as error:
        raise SourceError(str(error)) from error


def _with_maps(opened: Exportable, decoder: Path | str | bool, interpreter: Path | str | bool) -> Exportable:
    """A graph from a file with the feature maps that its decoder and its interpreter read."""
    from .onnx.file import OnnxSource
    from .onnx.trainable import trainable
    from .run.config import DecoderConfig, InterpreterConfig
    from .run.directory import RunDirectory

    if not isinstance(opened, OnnxSource) or (isinstance(decoder, bool) and isinstance(interpreter, bool)):
        return opened
    read: list[str] = []
    if not isinstance(decoder, bool):
        read += RunDirectory(Path(decoder), "decoder").read_config(DecoderConfig).decoder.inputs
    if not isinstance(interpreter, bool):
        config = RunDirectory(Path(interpreter), "interpreter").read_config(InterpreterConfig)
        read += config.interpreter.inputs
    return trainable(opened, list(dict.fromkeys(read)))


def _with_parts(source: Source, decoder: Path | str | bool, interpreter: Path | str | bool) -> Source:
    """The source with the decoder and the interpreter that are asked for; see `open_source`."""
    from ..source.source import without_decoder, without_interpreter
    from .run.decoder import with_decoder
    from .run.directory import RunDirectory
    from .run.interpreter import with_interpreter

    if decoder is not True:
        source = without_decoder(source)
    if interpreter is not True:
        source = without_interpreter(source)
    if not isinstance(decoder, bool):
        source = with_decoder(source, RunDirectory(Path(decoder), "decoder"))
    if not isinstance(interpreter, bool):
        source = with_interpreter(source, RunDirectory(Path(interpreter), "interpreter"))
        if not isinstance(decoder, bool) and source.decoder is None:
            raise SourceError(
                f"{interpreter}: an interpreter by design is a classifier of its own, for which the decoder "
                f"{decoder} was not trained; leave the decoder out"
            )
    return source


def require_packages(*packages: str, extra: str = "export") -> None:
    """Raise MissingDependencyError, naming the extras, where one of the packages is missing."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f"export needs {package}, which is not installed; pip install 'earmark[cpu,{extra}]'"
            )


def resolve(text: str, *, allow_missing_decoder: bool = False, interpreter: bool = True) -> Exportable:
    """Recognise and load a source.

    Args:
        text: The folder of a Hugging Face model, a SpeechBrain output folder, a run directory, a checkpoint
            of PANNs, or `module:factory`. An .onnx file does not say enough of itself: `onnx.file.load`.
        allow_missing_decoder: A SpeechBrain folder without a decoder is a source without masks, and a run
            directory is opened without its own, which may be unfinished.
        interpreter: False leaves a run's or a folder's interpreter out; a run that is a classifier by design
            is then the classifier that it began as.

    Raises:
        SourceError: It is none of them, or incomplete.

    """
    path = Path(text)
    if path.is_dir():
        from .hugging_face.beside import folder_of

        if folder_of(path) is not None:
            from .hugging_face import folder as hugging_face

            return hugging_face.load(path)
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
    if path.suffix.lower() in CHECKPOINTS and path.is_file():
        from .panns import checkpoint as panns

        return panns.load(path)
    if path.exists():
        raise SourceError(
            f"{text}: is a file; give a run directory, the folder of a model, a PANNs checkpoint or "
            "module:factory"
        )
    if _FACTORY.match(text):
        from .adapter import adapter as factory

        return factory.load(text)
    raise SourceError(
        f"{text}: no such folder, and not module:factory; give a run directory, the folder of a Hugging Face "
        "or SpeechBrain model, a PANNs checkpoint or module:factory"
    )
