"""The L2I interpreter of a SpeechBrain output folder: `CNN14PSI_stft_2d`, `Theta`, and the NMF dictionary.

    <folder>/save/nmf_decoder.ckpt                          W (often a link)
    <folder>/save/CKPT+<date>/psi_model.ckpt  theta.ckpt    (the newest is taken)

The recipe's columns of W are of any length: they are brought to unit length, the activations to what they
were times that length, theta to what it was by it, which changes neither W H, nor theta z, nor a relevance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ....errors import SourceError
from ....runtime.bundle.manifest import ComponentsSpec
from ...models.cnn14 import Taps
from ...models.cnn14_interpreter import Cnn14Psi, ExportedCnn14Psi, RecipeTheta, reference_activations
from ...models.component_facts import component_facts
from ...models.interpreter import Interpreter, ScaledPsi
from ...source.source import Source
from ..state_dicts import State, fill, read_state
from .hyperparams import Hyperparams

_PSI, _THETA, _NMF = "psi_model.ckpt", "theta.ckpt", "nmf_decoder.ckpt"


def holds_interpreter(checkpoint: Path) -> bool:
    """Whether a CKPT+ folder is the L2I recipe's: only that one trains a theta."""
    return (checkpoint / _THETA).is_file()


def with_recipe_interpreter(
    source: Source,
    checkpoint: Path,
    hyperparams: Hyperparams,
    recipe_taps: Callable[[torch.Tensor], tuple[Taps, int]],
) -> Source:
    """The source with the folder's interpreter.

    Args:
        source: The classifier of the folder.
        checkpoint: The CKPT+ folder.
        hyperparams: The recipe's settings.
        recipe_taps: Waveform [B, N] -> the recipe's own taps (x1, x2, x3, x4) and the number of frames.

    Raises:
        SourceError: A file or key is missing, damaged or of another architecture.

    """
    save = checkpoint.parent
    columns = _columns(save / _NMF, source)
    count = int(columns.shape[1])
    psi = _psi(checkpoint / _PSI, source, count)
    attention, weight = _theta(checkpoint / _THETA, source, count)
    norms = columns.norm(dim=0)
    theta = RecipeTheta(attention, weight / norms)
    scaled = ScaledPsi(ExportedCnn14Psi(psi), count)
    scaled.scale.copy_(norms)
    dictionary = (columns / norms).numpy()
    theirs = theta.weight.numpy()

    def interpreted(waveform: torch.Tensor) -> tuple[torch.Tensor, ...]:
        taps, frames = recipe_taps(waveform)
        activations = norms[:, None] * reference_activations(psi, taps, frames)
        return activations, *theta(activations)

    spec = ComponentsSpec(
        count=count,
        sample_rate=source.sample_rate,
        analysis=source.analysis,
        threshold=hyperparams.number("relevance_th", 0.2),
        components=component_facts(
            dictionary,
            theirs,
            list(source.labels),
            sample_rate=source.sample_rate,
            frame_seconds=source.analysis.hop / source.sample_rate,
        ),
    )
    return replace(
        source,
        interpreter=Interpreter(scaled, theta).eval(),
        interpreter_taps=["logmel", "x1", "x2", "x3", "x4"],
        components=spec,
        dictionary={"dictionary": dictionary, "theta": theirs},
        own_reference=replace(source.reference, interpreted=interpreted),
        description="Cnn14 and its L2I interpreter from an output folder of SpeechBrain's ESC-50 interpret "
        "recipe.",
    )


def _columns(path: Path, source: Source) -> torch.Tensor:
    """W [F, K] >= 0 as the recipe uses it, its ReLU applied."""
    state = read_state(path, "NMF dictionary")
    if set(state) != {"W"} or state["W"].dim() != 2:
        raise SourceError(f"{path}: keys {sorted(state)[:4]} are not those of an NMFDecoderAudio (W)")
    columns = torch.relu(state["W"])
    bins = source.analysis.n_fft // 2 + 1
    if columns.shape[0] != bins:
        raise SourceError(
            f"{path}: W is over {columns.shape[0]} bins, but the settings' spectrogram has {bins}; "
            "dictionary and interpreter must be of one spectrogram"
        )
    empty = torch.nonzero(columns.norm(dim=0) == 0).flatten().tolist()
    if empty:
        raise SourceError(
            f"{path}: component {empty[0]} of W is zero, a component without sound; learn W without it"
        )
    return columns


def _psi(path: Path, source: Source, count: int) -> Cnn14Psi:
    """CNN14PSI_stft_2d; other interpreters of the recipe are refused by name."""
    state: State = read_state(path, "interpreter (psi)")
    weight = state.get("convt9.weight")
    if weight is None or weight.dim() != 4 or tuple(weight.shape[2:]) != (7, 5):
        other = "CNN14PSI_stft" if weight is not None else "Psi or PsiOptimized"
        raise SourceError(
            f"{path}: is not the interpreter CNN14PSI_stft_2d but another (as {other} has it), which cannot "
            "be exported; train one with earmark train l2i FOLDER DATA -o RUN"
        )
    if weight.shape[1] != count:
        raise SourceError(
            f"{path}: psi gives {weight.shape[1]} activations for the {count} columns of {_NMF}"
        )
    with torch.device("meta"):
        psi = Cnn14Psi(int(source.taps["x1"][1]), count)
    return fill(psi, state, path, "interpreter (psi)")


def _theta(path: Path, source: Source, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight of every frame [T0], and theta [C, K]."""
    state = read_state(path, "theta")
    attention, weight = state.get("hard_att.weight"), state.get("classifier.0.weight")
    if attention is None or weight is None or len(state) != 2:
        raise SourceError(f"{path}: keys {sorted(state)[:4]} are not those of the recipe's Theta")
    if attention.dim() != 2 or attention.shape[0] != 1 or attention.shape[1] < 2:
        raise SourceError(f"{path}: key 'hard_att.weight' has shape {list(attention.shape)}, not [1, frames]")
    if tuple(weight.shape) != (len(source.labels), count):
        raise SourceError(
            f"{path}: key 'classifier.0.weight' has shape {list(weight.shape)}, but there are "
            f"{len(source.labels)} labels and {count} components"
        )
    return attention[0], weight
