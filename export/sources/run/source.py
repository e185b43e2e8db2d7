"""Source: a run directory of `earmark train`, with or without a decoder."""

from __future__ import annotations

from pathlib import Path

from ....errors import RunError, SourceError
from ....runtime.audio.lengths import samples_of
from ....runtime.bundle.manifest import FeatureMapSpec, WindowSpec
from ...graphs.heads import Layer
from ...graphs.stft import StftFrontend
from ...models.compact_classifier import STRIDE
from ...models.mel import mel_bands
from ...models.scales import Scale, mel_rows
from ...source.source import Source
from .config import ClassifierConfig
from .directory import RunDirectory
from .explainers import explained_by
from .rotation import FOLDER as APEX
from .rotation import with_apex

MAPS = ["map1", "map2", "map3", "map4"]


def load(path: str | Path, *, decoder: bool = True, interpreter: bool = True, apex: bool = True) -> Source:
    """The trained classifier of a run directory, its decoder, interpreter and U where trained and wanted.

    An interpreter by design becomes the classifier, and leaves out the decoder, which is another's.

    Raises SourceError naming what is missing, not finished, damaged, or does not belong together.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such run directory")
    try:
        return _load(folder, decoder=decoder, interpreter=interpreter, apex=apex)
    except RunError as error:
        raise SourceError(str(error)) from error


def _load(folder: Path, *, decoder: bool, interpreter: bool, apex: bool) -> Source:
    run = RunDirectory(folder, "classifier")
    config = run.read_config(ClassifierConfig)
    classifier, analysis = config.build(), config.analysis
    run.fill(classifier)
    mels, rate, window = config.classifier.mels, config.sample_rate, config.window_seconds
    samples, rows = samples_of(window, rate), mels // STRIDE
    taps: dict[str, list[int | str]] = {"logmel": ["batch", "frames", mels]}
    for scale, (name, width) in enumerate(zip(MAPS, classifier.widths, strict=True)):
        frames = f"frames_{2**scale}" if scale else "frames"
        taps[name] = ["batch", width, frames, mels // 2**scale]
    source = Source(
        name=config.name,
        labels=config.labels,
        task=config.task,
        sample_rate=rate,
        # Shorter sound was padded to the window in training, and is when it is explained.
        window=WindowSpec.usual(samples / rate, samples / rate, config.task, window / 2),
        analysis=analysis,
        frontend=StftFrontend(analysis),
        classifier=classifier,
        taps=taps,
        level=config.level,
        scales=[
            Scale(
                tap=name,
                channels=width,
                rows=mels // 2**scale,
                stride=2**scale,
                hz=mel_rows(mels, rate, mels // 2**scale, 2**scale),
            )
            for scale, (name, width) in enumerate(zip(MAPS, classifier.widths, strict=True))
        ],
        log_mel="logmel",
        feature_map=FeatureMapSpec(
            tap=MAPS[-1],
            channels=classifier.widths[-1],
            frame_seconds=STRIDE * analysis.hop / rate,
            bands_hz=mel_bands(mels, rate, rows),
            pooling="max_mean",
            additive=True,
        ),
        head_layers=(Layer.of(classifier.head),),
        evaluation=_evaluation(folder),
        description=f"Compact CNN on log-mel, {len(config.labels)} classes, trained with earmark train.",
        licence=config.licence,
        attribution=config.attribution,
    )
    decoder_run, interpreter_run = RunDirectory(folder, "decoder"), RunDirectory(folder, "interpreter")
    source = explained_by(
        source,
        decoder=decoder_run if decoder and decoder_run.begun else False,
        interpreter=interpreter_run if interpreter and interpreter_run.begun else False,
    )
    if apex and RunDirectory(folder / APEX, "apex").begun:
        source = with_apex(source, folder / APEX)
    return source


def _evaluation(folder: Path) -> dict[str, object]:
    """The classifier's last figures on the validation clips."""
    rows = RunDirectory(folder, "classifier").read_metrics()
    figures = ("accuracy", "f1")
    return {f"validation_{name}": rows[-1][name] for name in figures if rows and name in rows[-1]}
