"""config.json of a Hugging Face folder, read as data: which model, labels, task."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from ....errors import SourceError
from ....printable import first_line

FILE = "config.json"
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")

# Classes of transformers, and the module of each whose output are the tokens that the scores are made of. Of
# AST's last tokens those of its classes alone are read: the module is the one of the last layer that gives
# these the patches.
_PROJECTED = "projector"
CLAP = "ClapModel"
TOKENS = {
    "ASTForAudioClassification": "layernorm_before",
    CLAP: "audio_model.audio_encoder",
    "Data2VecAudioForSequenceClassification": _PROJECTED,
    "HubertForSequenceClassification": _PROJECTED,
    "SEWDForSequenceClassification": _PROJECTED,
    "SEWForSequenceClassification": _PROJECTED,
    "UniSpeechForSequenceClassification": _PROJECTED,
    "UniSpeechSatForSequenceClassification": _PROJECTED,
    "Wav2Vec2ConformerForSequenceClassification": _PROJECTED,
    "Wav2Vec2ForSequenceClassification": _PROJECTED,
    "WavLMForSequenceClassification": _PROJECTED,
    "WhisperForAudioClassification": _PROJECTED,
}


class ModelConfig(msgspec.Struct, frozen=True):
    """What is read of a config.json; the rest is the model's.

    Attributes:
        architectures: Classes of transformers that the weights are of.
        model_type: The kind of model.
        id2label: Labels by the number of their logit.
        problem_type: What the scores are; None: transformers' pipeline takes one label to hold.
        patch_size: Mel bands and frames of a patch, where the model cuts its features into patches.
        frequency_stride: Mel bands from one patch to the next.
        time_stride: Frames from one patch to the next.

    """

    architectures: list[str] = []
    model_type: str = ""
    id2label: dict[str, str] = {}
    problem_type: (
        Literal["single_label_classification", "multi_label_classification", "regression"] | None
    ) = None
    patch_size: int | list[int] = 16
    frequency_stride: int = 10
    time_stride: int = 10

    @property
    def task(self) -> Literal["single_label", "multi_label"]:
        """Whether several labels may hold."""
        return "multi_label" if self.problem_type == "multi_label_classification" else "single_label"


def is_model(folder: Path) -> bool:
    """Whether a folder's config.json is a Hugging Face model's: it names architectures."""
    try:
        return bool(msgspec.json.decode((folder / FILE).read_bytes(), type=ModelConfig).architectures)
    except msgspec.ValidationError:
        # JSON with these fields, of other types: `read_config` says which.
        return any((folder / name).is_file() for name in PREPROCESSORS)
    except (OSError, msgspec.DecodeError):
        return False


def preprocessor_of(folder: Path) -> Path:
    """The file of the front end. Raises SourceError where there is none."""
    for name in PREPROCESSORS:
        if (folder / name).is_file():
            return folder / name
    raise SourceError(
        f"{folder}: no {PREPROCESSORS[0]}, which says how features are made; take it from where the model "
        "was taken from"
    )


def read_config(path: Path) -> ModelConfig:
    """The configuration. Raises SourceError where it is none of a classifier."""
    try:
        config = msgspec.json.decode(path.read_bytes(), type=ModelConfig)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise SourceError(
            f"{path}: is no configuration of a model ({first_line(error)}); give the folder that "
            "save_pretrained wrote"
        ) from error
    if config.problem_type == "regression":
        raise SourceError(f"{path}: is a regression; its value is no score of a label")
    return config


def architecture_of(config: ModelConfig, path: Path) -> str:
    """The class of transformers that the weights are of. Raises SourceError where it is not known here."""
    name = config.architectures[0] if config.architectures else ""
    if name in TOKENS:
        return name
    raise SourceError(
        f"{path}: architectures names {name or 'no class'} (model_type {config.model_type!r}), not one of "
        f"{', '.join(TOKENS)}; write an Adapter around it (docs/adapters.md)"
    )


def labels_of(config: ModelConfig, path: Path) -> list[str]:
    """The labels in the order of the logits. Raises SourceError where numbers are missing."""
    try:
        by_number = {int(number): label for number, label in config.id2label.items()}
    except ValueError as error:
        raise SourceError(f"{path}: id2label has keys that are no numbers ({first_line(error)})") from error
    if len(by_number) < 2 or sorted(by_number) != list(range(len(by_number))):
        raise SourceError(
            f"{path}: id2label should name two or more labels 0, 1, 2, ..., but has {sorted(by_number)[:5]}"
        )
    return [by_number[number] for number in range(len(by_number))]
