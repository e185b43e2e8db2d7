"""Source: a folder of SpeechBrain's ESC-50 recipes: Cnn14, perhaps with L-MAC's decoder, or L2I's.

    <folder>/hyperparams.yaml
    <folder>/save/label_encoder.txt  embedding_model.ckpt  classifier.ckpt      (often links)
    <folder>/save/CKPT+<date>/psi_model.ckpt                                    (the newest is taken)

With a theta.ckpt beside it, psi is an interpreter: see l2i.py. The classification recipe leaves what it has
trained in CKPT+<date>/ alone, and what it began with in save/: the newest checkpoint wins. A folder for
SpeechBrain's Pretrainer has everything beside hyperparams.yaml, and no save/.

SpeechBrain itself is not needed. Nothing in the folder is executed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ....errors import SourceError
from ....runtime.bundle.manifest import FeatureMapSpec, WindowSpec
from ...graphs.heads import Layer
from ...graphs.stft import StftFrontend
from ...models.cnn14 import Cnn14, Cnn14Classifier, channels_of, current_names
from ...models.cnn14_decoder import Cnn14Decoder, ExportedCnn14Decoder
from ...models.scales import Scale, mel_rows
from ...source.source import Source
from ..state_dicts import State, fill, linear, read_state
from . import encoder
from .files import ModelFiles
from .heads import linear_of
from .l2i import holds_interpreter, with_recipe_interpreter
from .labels import read_labels
from .reference import recipe_reference, recipe_taps
from .settings import RecipeSettings, bands_of, is_usual, read_settings

# Frames of the shortest sound: below that Cnn14's pooling leaves nothing.
_MINIMUM_FRAMES = 32


def load(path: Path | str, *, allow_missing_decoder: bool = False) -> Source:
    """Read the folder. Raises SourceError naming file and key for whatever is missing or does not fit.

    allow_missing_decoder: without a psi_model.ckpt, give a source that explains by prototypes alone; a folder
        that only classifies always is one
    """
    folder = Path(path)
    files = ModelFiles(folder)
    if encoder.is_encoder(files):
        return encoder.load(files)
    recipe = read_settings(files.hyperparams, folder)
    labels = read_labels(files.labels)
    checkpoint = files.checkpoint
    interprets = checkpoint is not None and holds_interpreter(checkpoint)
    psi = None if interprets else _psi_path(files, allow_missing_decoder or files.classifies)
    head = _head(files, labels)
    body = _body(files.body, recipe, head)
    decoder = None if psi is None else _decoder(psi, body, recipe)
    filterbank = recipe.bank.matrix()
    channels = int(head.weight.shape[1])
    source = Source(
        name=recipe.name,
        labels=labels,
        task="single_label",
        sample_rate=recipe.sample_rate,
        window=WindowSpec.usual(
            recipe.seconds, _MINIMUM_FRAMES * recipe.analysis.hop / recipe.sample_rate, "single_label"
        ),
        analysis=recipe.analysis,
        frontend=StftFrontend(recipe.analysis),
        classifier=Cnn14Classifier(filterbank, body.folded(), head).eval(),
        taps=_taps(body, recipe),
        own_reference=recipe_reference(recipe, filterbank, body, head, decoder),
        level="signed_peak",
        decoder=None if decoder is None else ExportedCnn14Decoder(decoder).eval(),
        decoder_taps=[] if decoder is None else ["x1", "x2", "x3", "x4", "logmel"],
        mask_targets=None if decoder is None else "predicted",
        feature_map=FeatureMapSpec(
            tap="x1",
            channels=channels,
            frame_seconds=32 * recipe.analysis.hop / recipe.sample_rate,
            bands_hz=bands_of(recipe),
            pooling="max_mean",
            additive=True,
        ),
        head_layers=(Layer.of(head),),
        scales=_scales(_taps(body, recipe), recipe),
        log_mel="logmel" if is_usual(recipe) else None,
        description=f"{'Cnn14' if decoder is None else 'Cnn14 and its L-MAC decoder'} from a folder of "
        "SpeechBrain's ESC-50 recipes.",
    )
    if checkpoint is None or not interprets:
        return source
    return with_recipe_interpreter(
        source, checkpoint, files.hyperparams, recipe_taps(recipe, filterbank, body)
    )


def _psi_path(files: ModelFiles, optional: bool) -> Path | None:
    """The decoder's checkpoint."""
    path = (files.checkpoint or files.save / "CKPT+*") / "psi_model.ckpt"
    if path.is_file():
        return path
    if optional:
        return None
    raise SourceError(
        f"{path}: the decoder (psi) is missing; train it with the recipe, or export without masks "
        "by --no-decoder"
    )


def _head(files: ModelFiles, labels: list[str]) -> nn.Linear:
    """The linear head, from any of the forms in which a linear layer is saved."""
    path = files.head
    state = read_state(path, "classifier")
    plain = linear_of(state)
    if plain is None:
        raise SourceError(
            f"{path}: keys {sorted(state)[:6]} are not those of one linear layer (weight, bias), which the "
            f"recipe uses; its settings name {files.hyperparams.tag('classifier') or 'no classifier'}"
        )
    weight, bias = plain
    if weight.dim() != 2 or weight.shape[0] != len(labels):
        raise SourceError(
            f"{path}: key 'weight' has shape {list(weight.shape)}, but label_encoder.txt has {len(labels)} "
            "labels; they must belong together"
        )
    return linear(weight, bias, path, "classifier")


def _body(path: Path, recipe: RecipeSettings, head: nn.Linear) -> Cnn14:
    """Cnn14 with the checkpoint's widths."""
    state: State = current_names(read_state(path, "embedding model"))
    try:
        *channels, width = channels_of(state)
    except KeyError as error:
        raise SourceError(
            f"{path}: key {error} is missing from the embedding model; was another model saved?"
        ) from error
    if width != head.weight.shape[1]:
        raise SourceError(
            f"{path}: embeddings have {width} dimensions, but classifier.ckpt's weight takes "
            f"{head.weight.shape[1]}"
        )
    with torch.device("meta"):
        body = Cnn14(recipe.bank.n_mels, width, tuple(channels))
    return fill(body, state, path, "embedding model")


def _decoder(path: Path, body: Cnn14, recipe: RecipeSettings) -> Cnn14Decoder:
    """CNN14PSI_stft for the classifier's taps."""
    state = read_state(path, "decoder (psi)")
    width = channels_of(body.state_dict())[-1]
    with torch.device("meta"):
        decoder = Cnn14Decoder(width)
    decoder = fill(decoder, state, path, "decoder (psi)")
    bins = recipe.analysis.n_fft // 2 + 1
    if not 80 <= recipe.bank.n_mels <= 87 or bins != 513:
        raise SourceError(
            f"{path}: CNN14PSI_stft gives 513 bins from 80 to 87 mel bands, but the settings say {bins} bins "
            f"and {recipe.bank.n_mels} bands"
        )
    return decoder


def _taps(body: Cnn14, recipe: RecipeSettings) -> dict[str, list[int | str]]:
    """Names and dims of the classifier's taps, in order."""
    *channels, width = channels_of(body.state_dict())
    mels = recipe.bank.n_mels
    return {
        "x1": ["batch", width, "frames_32", mels // 32],
        "x2": ["batch", channels[4], "frames_32", mels // 32],
        "x3": ["batch", channels[3], "frames_16", mels // 16],
        "x4": ["batch", channels[2], "frames_8", mels // 8],
        "logmel": ["batch", "frames", mels],
    }


def _scales(taps: dict[str, list[int | str]], recipe: RecipeSettings) -> list[Scale]:
    """Where the cells of x4, x3, x2 and x1 lie; with an unusual filterbank none: they are measured."""
    if not is_usual(recipe):
        return []
    strides = {"x4": 8, "x3": 16, "x2": 32, "x1": 32}
    return [
        Scale(
            tap=name,
            channels=int(taps[name][1]),
            rows=int(taps[name][3]),
            stride=stride,
            hz=mel_rows(recipe.bank.n_mels, recipe.sample_rate, int(taps[name][3]), stride),
        )
        for name, stride in strides.items()
    ]
