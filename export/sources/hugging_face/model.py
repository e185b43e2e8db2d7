"""The model of a Hugging Face folder by transformers: weights from safetensors alone, none of its code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ....errors import SourceError
from ....printable import first_line
from ..shown import LastAnswers
from .maps import OutputLayout

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def load_model(folder: Path, architecture: str) -> nn.Module:
    """The model in evaluation mode, in float32.

    Raises SourceError where weights are missing, left over, of other shapes, or damaged.
    """
    import transformers

    speaks = transformers.logging.get_verbosity()
    draws = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        # Its module is imported here, with whatever that needs.
        kind: Any = getattr(transformers, architecture)
        model, loaded = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            attn_implementation="eager",
            dtype=torch.float32,
        )
    except Exception as error:
        # Whatever transformers raises: of a damaged file, of a field or a model that it does not know.
        raise SourceError(
            f"{folder}: transformers {transformers.__version__} cannot load it as {architecture} "
            f"({first_line(error, 160)})"
        ) from error
    finally:
        transformers.logging.set_verbosity(speaks)
        if draws:
            transformers.logging.enable_progress_bar()
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        wrong = sorted(str(key) for key in loaded.get(what) or [])
        if wrong:
            raise SourceError(
                f"{folder}: the weights are not those of a finished {architecture}: {what.replace('_', ' ')} "
                f"{', '.join(wrong[:3])}"
            )
    result: nn.Module = model.eval().requires_grad_(False)
    return result


def check_weights(folder: Path) -> None:
    """The folder has safetensors of a whole model. Raises SourceError."""
    if (folder / "adapter_config.json").is_file():
        raise SourceError(f"{folder}: holds a PEFT adapter; merge it (merge_and_unload) and save the model")
    if any((folder / name).is_file() for name in WEIGHTS):
        return
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if pickled:
        raise SourceError(
            f"{folder}: {pickled[0]} is pickled, which earmark never loads; write safetensors with "
            "model.save_pretrained(FOLDER) where you trust it"
        )
    raise SourceError(f"{folder}: no {WEIGHTS[0]} in it; give the folder that save_pretrained wrote")


class FolderClassifier(nn.Module):
    """Features (or the listenable STFT) -> (logits, *feature maps), by the model as it is.

    features: STFT -> features, where the STFT is what comes in
    grids: module of the model -> how its output lies over time and frequency
    """

    def __init__(self, model: nn.Module, features: nn.Module | None, grids: dict[str, OutputLayout]) -> None:
        super().__init__()
        self.model = model
        self.features = nn.Identity() if features is None else features
        self.argument = str(model.main_input_name)
        self.grids = grids
        self._seen = LastAnswers(model, grids)

    def forward(self, entry: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits [B, K] and the maps [B, D, T', F'] in the order of `grids`."""
        logits = self.model(**{self.argument: self.features(entry)}).logits
        return (logits, *(grid.feature_map(self._seen.take(name)) for name, grid in self.grids.items()))
