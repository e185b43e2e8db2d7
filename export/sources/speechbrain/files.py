"""What lies where in a folder of SpeechBrain's: a recipe's output, or the files of a Pretrainer."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ....errors import SourceError
from .hyperparams import TAG, Hyperparams

_LABELS = "label_encoder"
_BODY, _HEAD = "embedding_model", "classifier"
# The name behind the last slash of a path that a Pretrainer is told, as in `<pretrained_path>/model.ckpt`.
_NAME = re.compile(r"[\w.-]+")


class ModelFiles:
    """The folder's files.

    Attributes:
        folder: The folder.
        save: Where its parts lie: save/ of a recipe's output, else the folder itself.
        hyperparams: Its settings.
        checkpoint: The newest CKPT+ folder (their names sort by time), where there is one.

    """

    def __init__(self, folder: Path) -> None:
        """Raises SourceError where there are no settings."""
        self.folder = folder
        self.save = folder / "save" if (folder / "save").is_dir() else folder
        self.hyperparams = Hyperparams(_existing(folder / "hyperparams.yaml", "settings file"))
        checkpoints = sorted(entry for entry in self.save.glob("CKPT+*") if entry.is_dir())
        self.checkpoint = checkpoints[-1] if checkpoints else None

    @property
    def body(self) -> Path:
        """The embedding model's weights."""
        return self._weights(_BODY)

    @property
    def head(self) -> Path:
        """The classifier's weights."""
        return self._weights(_HEAD)

    @property
    def labels(self) -> Path:
        """The label list. Raises SourceError where there is none."""
        names = [self._told(_LABELS), f"{_LABELS}.txt", f"{_LABELS}.ckpt"]
        paths = [self.save / name for name in names if name]
        found = next((path for path in paths if path.is_file()), self.save / f"{_LABELS}.txt")
        return _existing(found, "label list")

    @property
    def classifies(self) -> bool:
        """Whether the folder's recipe trained the classifier: only then its checkpoints hold it."""
        return self.save == self.folder or self._trained(_BODY) or self._trained(_HEAD)

    def _trained(self, part: str) -> bool:
        return self.checkpoint is not None and (self.checkpoint / f"{part}.ckpt").is_file()

    def _weights(self, part: str) -> Path:
        """Of the newest checkpoint that has the part, else where the Pretrainer or the recipe laid it."""
        if self.checkpoint is not None and self._trained(part):
            return self.checkpoint / f"{part}.ckpt"
        told = self._told(part)
        if told and (self.save / told).is_file():
            return self.save / told
        return self.save / f"{part}.ckpt"

    def _told(self, part: str) -> str:
        """The file's name in the Pretrainer's paths; "" where it says none."""
        pretrainer = self.hyperparams.values.get("pretrainer")
        paths = pretrainer.get("paths") if isinstance(pretrainer, dict) else None
        told = paths.get(part) if isinstance(paths, dict) else None
        text = told.get("value") if isinstance(told, dict) and told.get(TAG) == "ref" else told
        name = PurePosixPath(text).name if isinstance(text, str) else ""
        return name if _NAME.fullmatch(name) and name not in {".", ".."} else ""


def _existing(path: Path, what: str) -> Path:
    """`path`, or a SourceError that names it."""
    if not path.is_file():
        raise SourceError(
            f"{path}: the {what} is missing; export needs the whole output folder of the recipe"
        )
    return path
