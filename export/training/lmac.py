"""The L-MAC recipe (arXiv 2403.13086): a decoder whose mask keeps what a frozen classifier listens to.

With X = log1p(A), M the mask, y the classifier's own answer for the whole sound:
loss = in_weight NLL(M X, y) - out_weight NLL((1 - M) X, y) + area_weight mean(M).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ...errors import DataError, RunError
from ...evaluation.sound_folders import list_sounds, split_sounds
from ...runtime.manifest import AnalysisSpec
from ..architectures.compact_classifier import CompactClassifier
from ..architectures.compact_decoder import CompactDecoder
from ..frontend import magnitude
from ..run_directory import RunDirectory
from ..stft import stft
from .augmentation import noise, place, random_gain
from .classifier import build, require_same
from .loop import OnEpoch, batches, fit, new_weights
from .settings import ClassifierSettings, LmacSettings, check, from_record, to_record
from .sounds import FloatArray, Sounds, load_split, window_batches

ARCHITECTURE = "compact_decoder"


def build_decoder(
    form: Mapping[str, Any], classifier: CompactClassifier, analysis: AnalysisSpec, sample_rate: int
) -> CompactDecoder:
    """The untrained decoder of a run's decoder.json. Raises RunError where it is damaged."""
    try:
        spec = form["decoder"]
        if spec["architecture"] != ARCHITECTURE:
            raise RunError(
                f"the run's decoder is a {spec['architecture']!r}; this earmark has {ARCHITECTURE}"
            )
        mels = classifier.mel.bank.shape[1]
        return CompactDecoder(classifier.widths, mels, analysis.n_fft, sample_rate, int(spec["width"]))
    except RunError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"the run's decoder.json is incomplete or damaged ({error})") from error


def masked(classifier: CompactClassifier, log_amplitude: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """X, M [B, T, F] -> logits [B, K] of the masked sound, through log1p(expm1(M X) @ FB)."""
    return classifier.from_logmel(torch.log1p(torch.expm1(mask * log_amplitude) @ classifier.mel.bank))


def train_lmac(
    run: str | Path,
    data: str | Path,
    settings: LmacSettings | None = None,
    *,
    resume: bool = False,
    strict: bool = False,
    quiet: bool = True,
    on_epoch: OnEpoch | None = None,
) -> dict[str, Any]:
    """Train a decoder over the finished classifier of `run`, on the sounds of `data`.

    Where the settings name no split, the classifier's own split is used. Returns a summary: clips,
    parameters, epochs, unreadable, and the validation metrics of the last epoch and of the mask
    thresholded at 0.5 (`thresholded_...`), in the spectrogram domain: average_increase,
    average_drop (%), faithfulness, input_fidelity, area (0..1).

    Raises DataError for the folder, RunError for the run or an interruption.
    """
    settings = settings or LmacSettings()
    check(settings)
    classifier_run, decoder_run = RunDirectory(Path(run), "classifier"), RunDirectory(Path(run), "decoder")
    config = classifier_run.read_config()
    classifier, analysis = build(config)
    classifier_run.fill(classifier)
    # Channels last is faster in float32, and slower in float64.
    dtype = torch.float64 if settings.exact else torch.float32
    layout = torch.contiguous_format if settings.exact else torch.channels_last
    classifier.to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
    if not resume and (decoder_run.config_path.exists() or decoder_run.weights_path.exists()):
        raise RunError(
            f"{decoder_run.path}: holds a decoder already; go on with --resume, or remove its decoder files"
        )
    training, validation, unreadable = _sounds(data, config, settings, strict=strict, quiet=quiet)
    form: dict[str, Any] = {
        "decoder": {"architecture": ARCHITECTURE, "width": settings.width},
        "classifier_sha256": classifier_run.weights_hash(),
        "training": to_record(settings),
        "clips": {"training": len(training.clips), "validation": len(validation.clips)},
    }
    if resume and decoder_run.config_path.exists():
        require_same(decoder_run, form, ("classifier_sha256", "clips", "training"))
    else:
        decoder_run.write_config(form)
    samples = round(config["window_seconds"] * config["sample_rate"])
    if not decoder_run.weights_path.exists():
        recipe = _Recipe(classifier, analysis, settings, training, samples)
        with new_weights(settings.seed, exact=settings.exact):
            decoder = build_decoder(form, classifier, analysis, config["sample_rate"])
        decoder.to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
        judged = build_decoder(form, classifier, analysis, config["sample_rate"]).to(dtype)

        def evaluate(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
            judged.load_state_dict(weights)
            return judge(classifier, judged.eval(), analysis, validation.waveforms, samples)

        weights = fit(
            decoder_run,
            decoder,
            epochs=settings.epochs,
            steps=len(batches(len(training.clips), settings.batch_size, np.random.default_rng(0))),
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            ema_decay=settings.ema_decay,
            seed=settings.seed,
            batch_of=recipe.batch_of,
            loss_of=lambda batch, progress: recipe.loss_of(decoder, batch, progress),
            evaluate=evaluate,
            curves={
                "loss": ["loss"],
                "area, faithfulness, input fidelity": ["area", "faithfulness", "input_fidelity"],
                "average drop and increase (%)": ["average_drop", "average_increase"],
            },
            exact=settings.exact,
            quiet=quiet,
            on_epoch=on_epoch,
        )
        decoder_run.write_weights(weights)
    trained = build_decoder(form, classifier, analysis, config["sample_rate"]).to(dtype)
    decoder_run.fill(trained)
    soft = judge(classifier, trained, analysis, validation.waveforms, samples)
    hard = judge(classifier, trained, analysis, validation.waveforms, samples, threshold=0.5)
    return {
        "clips": len(training.clips),
        "validation_clips": len(validation.clips),
        "unreadable": [(bad.clip.name, bad.reason) for bad in unreadable],
        "epochs": settings.epochs,
        "parameters": sum(p.numel() for p in trained.parameters()),
        **soft,
        **{f"thresholded_{name}": value for name, value in hard.items()},
    }


def _sounds(
    data: str | Path, config: Mapping[str, Any], settings: LmacSettings, *, strict: bool, quiet: bool
) -> tuple[Sounds, Sounds, list[Any]]:
    """The sounds to train and to validate on; the classifier's own split where none is named."""
    folder = list_sounds(data)
    if folder.labels != list(config["labels"]):
        strange = sorted(set(folder.labels) ^ set(config["labels"]))
        raise DataError(
            f"{folder.path}: its classes are not the run's (differing: {', '.join(strange[:5])}); give the "
            "data that the classifier was trained on"
        )
    own: ClassifierSettings | LmacSettings = settings
    if settings.val_fold is None and settings.val_fraction is None and settings.train_folds is None:
        own = from_record(ClassifierSettings, config["training"])
    split = split_sounds(
        folder,
        val_fold=own.val_fold,
        val_fraction=own.val_fraction,
        train_folds=own.train_folds,
        seed=own.seed,
    )
    return load_split(folder, split, config["sample_rate"], config["level"], strict=strict, quiet=quiet)


class _Recipe:
    """Batches and loss of the decoder's training."""

    def __init__(
        self,
        classifier: CompactClassifier,
        analysis: AnalysisSpec,
        settings: LmacSettings,
        sounds: Sounds,
        samples: int,
    ) -> None:
        self.classifier, self.analysis, self.settings = classifier, analysis, settings
        self.sounds, self.samples = sounds, samples

    def batch_of(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(STFT [B, T, F, 2], sharpness of the sigmoid [B, 1, 1]) a step."""
        random = np.random.default_rng([self.settings.seed, epoch])
        for chosen in batches(len(self.sounds.clips), self.settings.batch_size, random):
            heard = self._mix(
                np.stack([place(self.sounds.waveforms[i], self.samples, random) for i in chosen]), random
            )
            heard *= random_gain(len(chosen), random, 3.0)
            sharp = random.random((len(chosen), 1, 1)) < self.settings.sharpened
            sharpness = np.where(sharp, self.settings.sharpness, 1.0)
            dtype = self.classifier.head.weight.dtype
            yield (
                stft(torch.from_numpy(heard).to(dtype), self.analysis),
                torch.from_numpy(sharpness).to(dtype),
            )

    def _mix(self, heard: FloatArray, random: np.random.Generator) -> FloatArray:
        """Add to some sounds a quieter other one, or noise 0 to 20 dB below them."""
        count = len(heard)
        rms = np.sqrt(np.mean(heard**2, axis=1, keepdims=True))
        # Powers in float64: in float32 they differ between processors.
        share = (10.0 ** (-random.uniform(0.0, 20.0, (count, 1)) / 20.0)).astype(np.float32)
        others = heard[random.permutation(count)]
        others = others / (np.sqrt(np.mean(others**2, axis=1, keepdims=True)) + 1e-6)
        noises = noise(count, heard.shape[1], random)
        added = np.where(random.random((count, 1)) < 0.5, noises, others)
        chosen = random.random((count, 1)) < self.settings.mixtures
        mixed: npt.NDArray[np.float32] = heard + np.where(chosen, rms * share * added, 0.0).astype(np.float32)
        return mixed

    def loss_of(
        self, decoder: CompactDecoder, batch: tuple[torch.Tensor, torch.Tensor], progress: float
    ) -> torch.Tensor:
        """The loss of one batch; the area's weight rises with progress, or masks turn uniformly grey."""
        settings = self.settings
        spectrum, sharpness = batch
        with torch.no_grad():
            logits, *taps = self.classifier(spectrum)
            answer = logits.argmax(dim=1)
            log_amplitude = torch.log1p(magnitude(spectrum))
        mask = torch.sigmoid(sharpness * decoder.logits(*taps))
        kept = functional.cross_entropy(masked(self.classifier, log_amplitude, mask), answer)
        removed = functional.cross_entropy(masked(self.classifier, log_amplitude, 1.0 - mask), answer)
        ramp = 0.1 + 0.9 * min(1.0, progress / settings.area_ramp)
        area = mask.mean()
        return settings.in_weight * kept - settings.out_weight * removed + settings.area_weight * ramp * area


@torch.no_grad()
def judge(
    classifier: CompactClassifier,
    decoder: CompactDecoder,
    analysis: AnalysisSpec,
    waveforms: Sequence[FloatArray],
    samples: int,
    *,
    threshold: float | None = None,
) -> dict[str, float]:
    """Metrics of the masks over the windows of `waveforms`, in the spectrogram domain; {} without any.

    With p, q, o the probabilities of the class c = argmax p for the sound, mask-in, mask-out:
    average_increase 100 [p < q], average_drop 100 relu(p - q) / p, faithfulness p - o,
    input_fidelity [argmax q = c], area mean(M), area_spread its standard deviation between windows.
    """
    if not waveforms:
        return {}
    columns: list[torch.Tensor] = []
    for pieces, _ in window_batches(waveforms, samples):
        spectrum = stft(torch.from_numpy(pieces).to(classifier.head.weight.dtype), analysis)
        logits, *taps = classifier(spectrum)
        mask = decoder(*taps)
        if threshold is not None:
            mask = (mask >= threshold).to(mask.dtype)
        log_amplitude = torch.log1p(magnitude(spectrum))
        inside = torch.softmax(masked(classifier, log_amplitude, mask), dim=1)
        outside = torch.softmax(masked(classifier, log_amplitude, 1.0 - mask), dim=1)
        full = torch.softmax(logits, dim=1)
        target = full.argmax(dim=1, keepdim=True)
        p, q, o = (scores.gather(1, target).squeeze(1) for scores in (full, inside, outside))
        agrees = (inside.argmax(dim=1) == target.squeeze(1)).float()
        columns.append(torch.stack([p, q, o, agrees, mask.mean(dim=(1, 2))]))
    p, q, o, agrees, area = torch.cat(columns, dim=1)
    return {
        "average_increase": float(100.0 * (p < q).float().mean()),
        "average_drop": float((100.0 * (p - q).clamp(min=0) / (p + 1e-10)).mean()),
        "faithfulness": float((p - o).mean()),
        "input_fidelity": float(agrees.mean()),
        "area": float(area.mean()),
        "area_spread": float(area.std(correction=0)),
    }
