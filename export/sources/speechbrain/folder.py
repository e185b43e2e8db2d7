"""Source: the output folder of SpeechBrain's ESC-50 interpret recipe: Cnn14 with L-MAC's decoder, or L2I's.

    <folder>/hyperparams.yaml
    <folder>/save/label_encoder.txt  embedding_model.ckpt  classifier.ckpt      (often links)
    <folder>/save/CKPT+<date>/psi_model.ckpt                                    (the newest is taken)

With a theta.ckpt beside it, psi is an interpreter: see l2i.py.

SpeechBrain itself is not needed. Nothing in the folder is executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec, FeatureMapSpec, WindowSpec
from ...graphs.stft import StftFrontend, analysis_window, stft
from ...models.cnn14 import Cnn14, Cnn14Classifier, Taps, channels_of, current_names
from ...models.cnn14_decoder import Cnn14Decoder, ExportedCnn14Decoder, reference_mask
from ...models.mel import filterbank as filterbank_of
from ...models.scales import Scale, mel_rows
from ...source.source import Reference, Source
from ..state_dicts import State, fill, read_state
from .hyperparams import Hyperparams
from .l2i import holds_interpreter, with_recipe_interpreter

# Frames of the shortest sound: below that Cnn14's pooling leaves nothing.
_MINIMUM_FRAMES = 32
_EXTRAS = "=" * 16
# Forms in which a linear head is saved: torch's own, SpeechBrain's Linear, its Sequential-like lobes.
_HEAD_PREFIXES = ("", "w.", "linear.w.", "out.w.")


@dataclass(frozen=True)
class RecipeSettings:
    """The recipe's settings that shape the computation."""

    name: str
    sample_rate: int
    seconds: float
    n_mels: int
    f_min: float
    f_max: float
    analysis: AnalysisSpec


def load(path: Path | str, *, allow_missing_decoder: bool = False) -> Source:
    """Read the folder. Raises SourceError naming file and key for whatever is missing or does not fit.

    allow_missing_decoder: without a psi_model.ckpt, give a source that explains by prototypes alone
    """
    folder = Path(path)
    save = folder / "save"
    if not save.is_dir():
        raise SourceError(
            f"{save}: missing; give the output folder of the recipe, which has hyperparams.yaml and save/"
        )
    settings = _find(folder / "hyperparams.yaml", "settings file")
    hyperparams = Hyperparams(settings)
    recipe = _recipe(hyperparams, folder)
    labels = read_labels(_find(save / "label_encoder.txt", "label list"))
    checkpoint = _newest(save)
    interprets = checkpoint is not None and holds_interpreter(checkpoint)
    psi = None if interprets else _psi_path(save, checkpoint, allow_missing_decoder)
    head = _head(save / "classifier.ckpt", hyperparams, labels)
    body = _body(save / "embedding_model.ckpt", recipe, head)
    decoder = None if psi is None else _decoder(psi, body, recipe)
    filterbank = mel_filterbank(recipe)
    channels = int(head.weight.shape[1])
    source = Source(
        name=recipe.name,
        labels=labels,
        task="single_label",
        sample_rate=recipe.sample_rate,
        window=WindowSpec(
            seconds=recipe.seconds,
            hop_seconds=recipe.seconds / 2,
            minimum_seconds=_MINIMUM_FRAMES * recipe.analysis.hop / recipe.sample_rate,
        ),
        analysis=recipe.analysis,
        frontend=StftFrontend(recipe.analysis),
        classifier=Cnn14Classifier(filterbank, body.folded(), head).eval(),
        taps=_taps(body, recipe),
        reference=_reference(recipe, filterbank, body, head, decoder),
        level="signed_peak",
        decoder=None if decoder is None else ExportedCnn14Decoder(decoder).eval(),
        decoder_taps=[] if decoder is None else ["x1", "x2", "x3", "x4", "logmel"],
        mask_targets=None if decoder is None else "predicted",
        feature_map=FeatureMapSpec(
            tap="x1",
            channels=channels,
            frame_seconds=32 * recipe.analysis.hop / recipe.sample_rate,
            bands_hz=_bands(recipe),
            pooling="max_mean",
            additive=True,
        ),
        head_weight=head.weight.detach(),
        head_bias=None if head.bias is None else head.bias.detach(),
        scales=_scales(_taps(body, recipe), recipe),
        log_mel="logmel" if _usual(recipe) else None,
        description=(
            "Cnn14" + ("" if decoder is None else " and its L-MAC decoder") + " from an output folder of "
            "SpeechBrain's ESC-50 interpret recipe."
        ),
    )
    if checkpoint is None or not interprets:
        return source
    return with_recipe_interpreter(source, checkpoint, hyperparams, _listening(recipe, filterbank, body))


def read_labels(path: Path) -> list[str]:
    """label_encoder.txt: `'label' => index` lines up to a line of `=`; labels in the order of the logits.

    Raises SourceError where a line cannot be read or the indices are not 0, 1, 2, ...
    """
    by_index: dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: the label list cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        if line.startswith(_EXTRAS):
            break
        if not line.strip():
            continue
        text, arrow, index = line.rpartition(" => ")
        try:
            label, position = ast.literal_eval(text), int(index)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            arrow = ""
        if not arrow:
            raise SourceError(f"{path}: line {number} is not of the form 'label' => index: {line[:60]!r}")
        if position in by_index:
            raise SourceError(f"{path}: line {number} gives index {position} a second time")
        by_index[position] = str(label)
    if not by_index or sorted(by_index) != list(range(len(by_index))):
        raise SourceError(
            f"{path}: indices should be 0, 1, 2, ... without a gap, but are {sorted(by_index)[:10]}"
        )
    return [by_index[index] for index in range(len(by_index))]


def mel_filterbank(recipe: RecipeSettings) -> torch.Tensor:
    """SpeechBrain's Filterbank as a matrix [F, n_mels] float32.

    Triangles symmetric in Hz: the gap to the left neighbour is used on both sides; no area
    normalisation. Computed in float32 in SpeechBrain's order of operations, to agree bit for bit.
    """
    hz = _mel_points(recipe)
    band, centre = (hz[1:] - hz[:-1])[:-1], hz[1:-1]
    bins = recipe.analysis.n_fft // 2 + 1
    frequency = torch.linspace(0, recipe.sample_rate // 2, bins).repeat(recipe.n_mels, 1)
    slope = (frequency - centre[:, None]) / band[:, None]
    return torch.clamp(torch.minimum(slope + 1.0, -slope + 1.0), min=0.0).transpose(0, 1).contiguous()


def _mel_points(recipe: RecipeSettings) -> torch.Tensor:
    """The n_mels + 2 points in Hz between f_min and f_max, evenly spaced in mel."""
    ends = torch.tensor([recipe.f_min, recipe.f_max], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + ends / 700)).tolist()
    mel = torch.linspace(low, high, recipe.n_mels + 2)
    points: torch.Tensor = 700 * (10 ** (mel / 2595) - 1)
    return points


def _bands(recipe: RecipeSettings) -> list[tuple[float, float]]:
    """Nominal bands of x1's rows: 32 mel bands each."""
    hz = _mel_points(recipe).tolist()
    return [(hz[32 * row], hz[32 * (row + 1)]) for row in range(recipe.n_mels // 32)]


def _find(path: Path, what: str) -> Path:
    """`path`, or a SourceError that names it."""
    if not path.is_file():
        raise SourceError(
            f"{path}: the {what} is missing; export needs the whole output folder of the recipe"
        )
    return path


def _recipe(values: Hyperparams, folder: Path) -> RecipeSettings:
    """Settings with the recipe's defaults; what this source does not implement is refused by name."""
    stft, bank = "compute_stft", "compute_fbank"
    rate = values.integer("sample_rate", 16000)
    hop = values.number("hop_length", 11.6099, of=stft)
    window = values.number("win_length", 23.2199, of=stft)
    n_fft = values.integer("n_fft", 1024, of=stft)
    fixed: list[tuple[str, str | None, object]] = [
        ("spec_mag_power", None, 0.5),
        ("use_melspectra_log1p", None, True),
        ("log_mel", bank, False),
        ("filter_shape", bank, "triangular"),
        ("freeze", bank, True),
        ("normalized_stft", stft, False),
        ("center", stft, True),
        ("onesided", stft, True),
        ("pad_mode", stft, "constant"),
        ("norm_type", "embedding_model", "bn"),
    ]
    for key, owner, only in fixed:
        value = values.get(key, only, of=owner)
        if value != only:
            raise SourceError(f"{values.path}: {key} is {value!r}; only {only!r} can be exported")
    if (values.tag("embedding_model") or "Cnn14").rpartition(".")[2] != "Cnn14":
        raise SourceError(
            f"{values.path}: embedding_model is {values.tag('embedding_model')}; Cnn14 is needed"
        )
    hop_samples, window_samples = round(rate / 1000.0 * hop), round(rate / 1000.0 * window)
    if not (0 < hop_samples <= window_samples <= n_fft and n_fft % 2 == 0):
        raise SourceError(
            f"{values.path}: hop_length {hop:g} ms and win_length {window:g} ms do not fit "
            f"n_fft {n_fft} at {rate} Hz"
        )
    name = values.get("experiment_name", folder.resolve().name)
    return RecipeSettings(
        name=name if isinstance(name, str) and name else folder.resolve().name,
        sample_rate=rate,
        seconds=values.number("signal_length_s", 5),
        n_mels=values.integer("n_mels", 80, of=bank),
        f_min=values.number("f_min", 0, of=bank),
        f_max=values.number("f_max", 8000, of=bank),
        analysis=AnalysisSpec(n_fft=n_fft, window_length=window_samples, hop=hop_samples, window="hamming"),
    )


def _newest(save: Path) -> Path | None:
    """The newest CKPT+ folder (their names sort by time)."""
    checkpoints = sorted(entry for entry in save.glob("CKPT+*") if entry.is_dir())
    return checkpoints[-1] if checkpoints else None


def _psi_path(save: Path, checkpoint: Path | None, optional: bool) -> Path | None:
    """The decoder's checkpoint."""
    path = (checkpoint or save / "CKPT+*") / "psi_model.ckpt"
    if path.is_file():
        return path
    if optional:
        return None
    raise SourceError(
        f"{path}: the decoder (psi) is missing; train it with the recipe, or export without masks "
        "by --no-decoder"
    )


def _head(path: Path, values: Hyperparams, labels: list[str]) -> nn.Linear:
    """The linear head, from any of the forms in which a linear layer is saved."""
    state = read_state(path, "classifier")
    for prefix in _HEAD_PREFIXES:
        if set(state) == {f"{prefix}weight", f"{prefix}bias"}:
            weight, bias = state[f"{prefix}weight"], state[f"{prefix}bias"]
            break
    else:
        raise SourceError(
            f"{path}: keys {sorted(state)[:6]} are not those of one linear layer (weight, bias), which the "
            f"recipe uses; its settings name {values.tag('classifier') or 'no classifier'}"
        )
    if weight.dim() != 2 or weight.shape[0] != len(labels):
        raise SourceError(
            f"{path}: key 'weight' has shape {list(weight.shape)}, but label_encoder.txt has {len(labels)} "
            "labels; they must belong together"
        )
    with torch.device("meta"):
        head = nn.Linear(int(weight.shape[1]), int(weight.shape[0]))
    return fill(head, {"weight": weight, "bias": bias}, path, "classifier")


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
        body = Cnn14(recipe.n_mels, width, tuple(channels))
    return fill(body, state, path, "embedding model")


def _decoder(path: Path, body: Cnn14, recipe: RecipeSettings) -> Cnn14Decoder:
    """CNN14PSI_stft for the classifier's taps."""
    state = read_state(path, "decoder (psi)")
    width = channels_of(body.state_dict())[-1]
    with torch.device("meta"):
        decoder = Cnn14Decoder(width)
    decoder = fill(decoder, state, path, "decoder (psi)")
    bins = recipe.analysis.n_fft // 2 + 1
    if recipe.n_mels // 32 != 2 or recipe.n_mels // 16 != 5 or recipe.n_mels // 8 != 10 or bins != 513:
        raise SourceError(
            f"{path}: CNN14PSI_stft gives 513 bins from 80 to 87 mel bands, but the settings say {bins} bins "
            f"and {recipe.n_mels} bands"
        )
    return decoder


def _taps(body: Cnn14, recipe: RecipeSettings) -> dict[str, list[int | str]]:
    """Names and dims of the classifier's taps, in order."""
    *channels, width = channels_of(body.state_dict())
    mels = recipe.n_mels
    return {
        "x1": ["batch", width, "frames_32", mels // 32],
        "x2": ["batch", channels[4], "frames_32", mels // 32],
        "x3": ["batch", channels[3], "frames_16", mels // 16],
        "x4": ["batch", channels[2], "frames_8", mels // 8],
        "logmel": ["batch", "frames", mels],
    }


def _usual(recipe: RecipeSettings) -> bool:
    """Whether the recipe's filterbank spans all frequencies, as this package's own does."""
    own = filterbank_of(recipe.analysis.n_fft, recipe.n_mels, recipe.sample_rate)
    return torch.allclose(mel_filterbank(recipe), own, atol=1e-5)


def _scales(taps: dict[str, list[int | str]], recipe: RecipeSettings) -> list[Scale]:
    """Where the cells of x4, x3, x2 and x1 lie; with an unusual filterbank none: they are measured."""
    if not _usual(recipe):
        return []
    strides = {"x4": 8, "x3": 16, "x2": 32, "x1": 32}
    return [
        Scale(
            tap=name,
            channels=int(taps[name][1]),
            rows=int(taps[name][3]),
            stride=stride,
            hz=mel_rows(recipe.n_mels, recipe.sample_rate, int(taps[name][3]), stride),
        )
        for name, stride in strides.items()
    ]


def _listening(
    recipe: RecipeSettings, filterbank: torch.Tensor, body: Cnn14
) -> Callable[[torch.Tensor], tuple[Taps, int]]:
    """Waveform [B, N] -> the recipe's own taps, batch norms unfolded, and the number of frames."""

    def listen(waveform: torch.Tensor) -> tuple[Taps, int]:
        parts = stft(waveform, recipe.analysis)
        logmel = torch.log1p(torch.sqrt(parts.pow(2).sum(-1) + 1e-14) @ filterbank)
        return body(logmel)[1], logmel.shape[1]

    return listen


def _reference(
    recipe: RecipeSettings,
    filterbank: torch.Tensor,
    body: Cnn14,
    head: nn.Linear,
    decoder: Cnn14Decoder | None,
) -> Reference:
    """The recipe's own computation: torch.stft, batch norms and all nine layers as they are."""
    analysis = recipe.analysis
    window = analysis_window(analysis).float()

    def listen(waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spectrum = torch.stft(
            waveform,
            analysis.n_fft,
            analysis.hop,
            analysis.window_length,
            window,
            pad_mode="constant",
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum.transpose(1, 2))
        return parts, torch.sqrt(parts.pow(2).sum(-1) + 1e-14)

    def logits(waveform: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = head(body(torch.log1p(listen(waveform)[1] @ filterbank))[0])
        return output

    if decoder is None:
        return Reference(logits=logits)

    # The last waveform and its mask: `kept` is asked about the same sound, and the decoder is heavy.
    last: list[tuple[torch.Tensor, torch.Tensor]] = []

    def mask(waveform: torch.Tensor) -> torch.Tensor:
        if last and last[0][0] is waveform:
            return last[0][1]
        amplitude = listen(waveform)[1]
        taps = body(torch.log1p(amplitude @ filterbank))[1]
        output = reference_mask(decoder, taps, amplitude.shape[1])
        last[:] = [(waveform, output)]
        return output

    def kept(waveform: torch.Tensor) -> torch.Tensor:
        parts, amplitude = listen(waveform)
        loudness = torch.expm1(mask(waveform) * torch.log1p(amplitude))
        phase = torch.atan2(parts[..., 1], parts[..., 0])
        return torch.istft(
            torch.polar(loudness, phase).transpose(1, 2),
            analysis.n_fft,
            analysis.hop,
            analysis.window_length,
            window,
            length=waveform.shape[1],
        )

    return Reference(logits=logits, mask=mask, kept=kept)
