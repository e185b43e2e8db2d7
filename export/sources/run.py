"""Source: a run directory of `earmark train`, with or without a decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...errors import RunError, SourceError
from ...runtime.manifest import AnalysisSpec, FeatureMapSpec, WindowSpec
from ..architectures.compact_classifier import STRIDE, CompactClassifier
from ..architectures.compact_decoder import CompactDecoder
from ..architectures.mel import mel_bands
from ..frontend import StftFrontend, magnitude
from ..inverse import gain, inverse
from ..run_directory import RunDirectory
from ..source import Reference, Source
from ..stft import stft
from ..training.classifier import build
from ..training.lmac import build_decoder
from ..training.sounds import longest_window

MAPS = ["map1", "map2", "map3", "map4"]
TAPS = ["logmel", *MAPS]


def load(path: str | Path) -> Source:
    """The trained classifier of a run directory, and its decoder where one is trained.

    Raises SourceError naming what is missing, not finished, damaged, or does not belong together.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such run directory")
    try:
        return _load(folder)
    except RunError as error:
        raise SourceError(str(error)) from error


def _load(folder: Path) -> Source:
    run = RunDirectory(folder, "classifier")
    config = run.read_config()
    classifier, analysis = build(config)
    run.fill(classifier)
    decoder = _decoder(folder, run, classifier, analysis, config)
    mels, rate, window = config["classifier"]["mels"], config["sample_rate"], float(config["window_seconds"])
    samples, rows = round(window * rate), mels // STRIDE
    taps: dict[str, list[int | str]] = {"logmel": ["batch", "frames", mels]}
    for scale, (name, width) in enumerate(zip(MAPS, classifier.widths, strict=True)):
        frames = f"frames_{2**scale}" if scale else "frames"
        taps[name] = ["batch", width, frames, mels // 2**scale]
    return Source(
        name=config["name"],
        labels=list(config["labels"]),
        task="single_label",
        sample_rate=rate,
        # Shorter sound was padded to the window in training, and is when it is explained.
        window=WindowSpec(
            seconds=longest_window(samples) / rate, hop_seconds=window / 2, minimum_seconds=window
        ),
        analysis=analysis,
        frontend=StftFrontend(analysis),
        classifier=classifier,
        taps=taps,
        reference=_reference(classifier, decoder, analysis),
        level=config["level"],
        decoder=decoder,
        decoder_taps=TAPS if decoder is not None else [],
        mask_targets="predicted" if decoder is not None else None,
        feature_map=FeatureMapSpec(
            tap=MAPS[-1],
            channels=classifier.widths[-1],
            frame_seconds=STRIDE * analysis.hop / rate,
            bands_hz=mel_bands(mels, rate, rows),
            pooling="max_mean",
            additive=True,
        ),
        head_weight=classifier.head.weight.detach(),
        head_bias=classifier.head.bias.detach(),
        evaluation=_evaluation(folder),
        description=f"Compact CNN on log-mel, {len(config['labels'])} classes, trained with earmark train.",
        licence=str(config.get("licence", "")),
        attribution=str(config.get("attribution", "")),
    )


def _decoder(
    folder: Path,
    classifier_run: RunDirectory,
    classifier: CompactClassifier,
    analysis: AnalysisSpec,
    config: dict[str, Any],
) -> CompactDecoder | None:
    """The decoder of the run, or None where none was trained."""
    run = RunDirectory(folder, "decoder")
    if not run.config_path.exists() and not run.weights_path.exists():
        return None
    form = run.read_config()
    if form.get("classifier_sha256") != classifier_run.weights_hash():
        raise SourceError(
            f"{run.weights_path}: was trained over another classifier than "
            f"{classifier_run.weights_path.name}; train the decoder again"
        )
    decoder = build_decoder(form, classifier, analysis, config["sample_rate"])
    run.fill(decoder)
    return decoder


def _evaluation(folder: Path) -> dict[str, object]:
    """The last figures of each part on the validation clips."""
    figures: dict[str, object] = {}
    for part, keys in (
        ("classifier", ("accuracy",)),
        ("decoder", ("average_increase", "average_drop", "faithfulness", "input_fidelity", "area")),
    ):
        rows = RunDirectory(folder, part).read_metrics()  # type: ignore[arg-type]
        if rows:
            figures.update({f"validation_{key}": rows[-1][key] for key in keys if key in rows[-1]})
    return figures


def _reference(
    classifier: CompactClassifier, decoder: CompactDecoder | None, analysis: AnalysisSpec
) -> Reference:
    """The modules as trained, chained with torch.stft and torch.istft."""

    def logits(waveform: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = classifier(stft(waveform, analysis))[0]
        return made

    if decoder is None:
        return Reference(logits=logits)

    def mask(waveform: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = decoder(*classifier(stft(waveform, analysis))[1:])
        return made

    def kept(waveform: torch.Tensor) -> torch.Tensor:
        spectrum = stft(waveform, analysis)
        made: torch.Tensor = decoder(*classifier(spectrum)[1:])
        scale = gain(made, magnitude(spectrum, 0.0))
        return inverse(spectrum * scale.unsqueeze(-1), analysis, waveform.shape[1])

    return Reference(logits=logits, mask=mask, kept=kept)
