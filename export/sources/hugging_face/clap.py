"""CLAP as a classifier of given texts: cosines of the sound's embedding with theirs, as transformers does.

What transformers' zero-shot-audio-classification pipeline computes for candidate labels and its template.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....errors import SourceError
from ....printable import first_line
from ..onnx.given import read_labels

LABELS = "labels.txt"
_TEMPLATE = "This is a sound of {}."


class _Answer(NamedTuple):
    logits: Tensor


class _AllFused(nn.Module):
    """The patch embedding of a CLAP with fusion, for all sounds.

    Its extractor always calls one sound of a batch longer than the window: a clip that comes alone is fused.
    """

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, images: Tensor, _longer: Tensor | None = None) -> Tensor:
        """See the class."""
        output: Tensor = self.embedding(images, torch.arange(images.shape[0], device=images.device))
        return output


class ClapTexts(nn.Module):
    """Features -> logits [B, K] of K texts; texts [K, E] are of length 1."""

    main_input_name = "input_features"

    def __init__(self, model: Any, texts: Tensor) -> None:
        super().__init__()
        self.audio_model, self.projection = model.audio_model, model.audio_projection
        encoder = self.audio_model.audio_encoder
        if encoder.enable_fusion:
            encoder.enable_fusion = False
            encoder.patch_embed = _AllFused(encoder.patch_embed)
        self.scale = nn.Parameter(model.logit_scale_a.exp(), requires_grad=False)
        self.texts: Tensor
        self.register_buffer("texts", texts)

    def forward(self, input_features: Tensor) -> _Answer:
        """See the class."""
        embedding = self.projection(self.audio_model(input_features=input_features).pooler_output)
        return _Answer(functional.normalize(embedding, dim=1) @ self.texts.T * self.scale)


def labels_of(folder: Path) -> list[str]:
    """The texts to choose among. Raises SourceError where there are fewer than two."""
    path = folder / LABELS
    if not path.is_file():
        raise SourceError(
            f"{folder}: CLAP chooses among texts; put {LABELS} beside config.json, one a line, such as rain "
            f"(it becomes {_TEMPLATE.format('rain')!r}, as in transformers' pipeline)"
        )
    labels = read_labels(str(path))
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(labels):
        raise SourceError(f"{path}: give two or more different texts, one a line")
    return labels


@torch.no_grad()
def with_texts(model: Any, folder: Path, labels: list[str]) -> ClapTexts:
    """The classifier of these labels. Raises SourceError where the folder's tokeniser cannot be loaded."""
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        tokens = tokenizer([_TEMPLATE.format(one) for one in labels], return_tensors="pt", padding=True)
        hidden = model.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    except Exception as error:
        # Whatever transformers raises of files that are missing or damaged.
        raise SourceError(
            f"{folder}: its tokeniser cannot read the labels ({first_line(error, 160)}); the folder needs "
            "what processor.save_pretrained wrote, tokenizer.json with it"
        ) from error
    texts = functional.normalize(model.text_projection(hidden.pooler_output), dim=1)
    return ClapTexts(model, texts).eval().requires_grad_(False)
