"""Sources of export, a folder for each kind: which kind is named, and which of its parts are opened."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import MissingDependencyError, SourceError
from ..source.exportable import Exportable
from .foreign import CHECKPOINTS, refuse_foreign

if TYPE_CHECKING:
    from .adapter.adapter import Adapter

_PACKAGES = ("torch", "onnxscript", "safetensors", "yaml")
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
        opened = resolve(
            str(source), allow_missing_decoder=decoder is not True, interpreter=interpreter is True
        )
    elif isinstance(source, Exportable):
        opened = source
    else:
        from .adapter.source import from_adapter

        opened = from_adapter(source, source.name)
    require_packages(*_PACKAGES)
    from .run.parts import with_parts

    return with_parts(opened, decoder, interpreter, apex)


def run_of(source: Path | str | Exportable) -> Path | None:
    """The run directory of a classifier that a source is; None for any other source.

    A config.json may also be of a Hugging Face model.
    """
    from .hugging_face.beside import folder_of
    from .run.directory import holds_classifier

    if isinstance(source, Exportable) or folder_of(Path(source)) is not None:
        return None
    return Path(source) if holds_classifier(Path(source)) else None


def open_classifier(source: Path | str | Exportable) -> Exportable:
    """What is trained over: a source without its decoder, interpreter and U, perhaps unfinished."""
    from ..source.source import Source, without_decoder, without_interpreter
    from .run.source import load

    run = run_of(source)
    if run is not None:
        return load(run, decoder=False, interpreter=False, apex=False)
    opened = source if isinstance(source, Exportable) else resolve(str(source), allow_missing_decoder=True)
    return without_interpreter(without_decoder(opened)) if isinstance(opened, Source) else opened


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
    refuse_foreign(text)
    require_packages(*_PACKAGES)
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
    _refuse_code(text)
    if path.exists():
        raise SourceError(
            f"{text}: is a file; give a run directory, the folder of a model, a PANNs checkpoint or "
            "module:factory"
        )
    if _FACTORY.match(text):
        from .adapter import source as factory

        return factory.load(text)
    raise SourceError(
        f"{text}: no such folder, and not module:factory; give a run directory, the folder of a Hugging Face "
        "or SpeechBrain model, a PANNs checkpoint or module:factory"
    )


def _refuse_code(text: str) -> None:
    """Raise SourceError for a path of Python code, saying how its module is named."""
    code, _, factory = text.partition(":")
    path = Path(code)
    if path.suffix == ".py" or (factory.isidentifier() and path.name != code):
        raise SourceError(
            f"{text}: is a path; in the folder {path.parent} give {path.stem}:{factory or 'FACTORY'}, "
            "as Python imports it: a function that returns an earmark.export.Adapter (docs/adapters.md)"
        )
