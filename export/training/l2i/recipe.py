"""The L2I recipe (arXiv 2202.11479): NMF components that explain a classifier, or are the classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from msgspec import UNSET

from ....errors import DataError, RunError
from ....progress import Progress
from ....runtime.audio.lengths import longest_window
from ....runtime.values.arrays import FloatArray
from ...graphs.stft import stft
from ...models.component_facts import component_facts
from ...models.interpreter import Interpreter
from ...models.interpreters import InterpreterForm
from ...source.exportable import Exportable
from ...source.source import Source
from ...sources.run.config import DictionaryRecord, InterpreterConfig, InterpreterStart
from ...sources.run.directory import RunDirectory
from ...sources.run.explainers import as_designed, read_dictionary
from ..forms import cost, interpreter_form
from ..frozen_classifier import FrozenClassifier
from ..loop import new_weights
from ..noise import Noise
from ..options import InterpreterOptions
from ..over_source import SplitSounds, opened_run, sounds_over
from ..resuming import require_same
from ..settings import to_record
from ..sounds import Sounds
from ..summary import InterpreterSummary
from .dictionary import LearntDictionary, learn_dictionary, write_dictionary
from .fit import InterpreterTraining, fit_by_design, fit_post_hoc
from .judge import accuracy
from .loss import MASK_POWER
from .settings import L2iSettings


def train_l2i(
    source: str | Path | Exportable,
    data: str | Path,
    settings: L2iSettings | None = None,
    options: InterpreterOptions | None = None,
) -> InterpreterSummary:
    """Train an interpreter over the finished classifier of `source`, on the sounds of `data`.

    Post-hoc the classifier stays as it is. By design theta(psi(.)) becomes the classifier: backbone,
    starting from the trained one, psi and theta learn the labels together. Splits are as in `train_lmac`.

    Args:
        source: A run directory, any other PyTorch source of export with feature maps, or a graph that
            `export.sources.onnx.file.load` has read.
        data: A folder of sounds, or of folders of them, whose names are labels where a run's classifier was
            trained on them or with `by_design`; or one with a labels.csv.
        settings: How the interpreter is trained; None: the defaults.
        options: How the training is run, and what it begins with; None: the defaults.

    Returns:
        The summary; its figures are those of `judge.judge`, the accuracy (several labels: f1) of the trained
        classifier, and by design by_design_accuracy (by_design_f1).

    Raises:
        DataError: A folder or a clip cannot be used.
        SourceError: The source is incomplete or shows no feature maps.
        RunError: The run or the settings do not fit, or the training was interrupted.
        DeviceError: A GPU is asked for that is not there.

    """
    settings, options = settings or L2iSettings(), options or InterpreterOptions()
    run, opened, device = opened_run(source, "interpreter", options, exact=settings.exact)
    # What the source cannot give is refused before anything is learnt.
    tried = interpreter_form(opened, settings.components or 2, settings.interpreter, settings.width or 16)
    if settings.by_design:
        as_designed(opened, tried, tried.build())
    # By design all training clips are learnt from, as the classifier did, and the last epoch is taken.
    split = replace(settings, stop_fraction=0.0) if settings.by_design else settings
    parts = sounds_over(data, run.path, opened, split, options, by_labels=settings.by_design)
    noise = Noise.read(options.noise, opened.sample_rate)
    config = _begun(run, opened, parts, settings, options, noise)
    form, threshold = config.interpreter, config.threshold
    values, scale = read_dictionary(run, opened)
    # Before the classifier moves to where it is trained.
    own_cost, classifier_cost = cost(opened, form)
    frozen = FrozenClassifier(opened, exact=settings.exact, device=device)
    figures = accuracy(frozen, parts.validation) if parts.labelled else {}
    # By design the backbone is trained; whoever gave the source gets it back as it was.
    untouched = {name: value.clone() for name, value in opened.classifier.state_dict().items()}
    interpreter = _beginning(form, values, scale, settings, options.start)
    explained = as_designed(opened, form, interpreter) if settings.by_design else opened
    training = InterpreterTraining(
        run, explained, form, interpreter, values, threshold, parts, settings, device
    )
    try:
        if run.weights_path.exists():
            weights = run.read_weights()
        elif settings.by_design:
            weights = fit_by_design(training, quiet=options.quiet)
        else:
            weights = fit_post_hoc(training, frozen, noise, quiet=options.quiet)
        training.take(weights)
        frozen = FrozenClassifier(explained, exact=settings.exact, device=device)
        if settings.by_design:
            figures |= {f"by_design_{name}": v for name, v in accuracy(frozen, parts.validation).items()}
        figures |= training.judge(frozen, parts.validation.waveforms)
        facts = component_facts(
            values,
            interpreter.weight.detach().cpu().numpy().astype(np.float32),
            list(opened.labels),
            sample_rate=opened.sample_rate,
            frame_seconds=opened.analysis.hop / opened.sample_rate,
            windows=_activations(frozen, training, (parts.training, parts.stopping)),
        )
    finally:
        opened.classifier.load_state_dict(untouched)
    rounded = {name: round(value, 6) for name, value in figures.items()}
    run.write_config(msgspec.structs.replace(config, facts=facts, validation=rounded))
    if not run.weights_path.exists():
        run.write_weights(weights)
    return InterpreterSummary(
        clips=len(parts.training.clips),
        validation_clips=len(parts.validation.clips),
        left_out=parts.left_out,
        epochs=len(run.read_metrics()),
        parameters=sum(p.numel() for p in interpreter.parameters()),
        multiply_adds=own_cost,
        classifier_multiply_adds=classifier_cost,
        components=form.components,
        dictionary_error=config.dictionary.error,
        silent=config.dictionary.silent,
        figures=figures,
    )


def _begun(
    run: RunDirectory,
    source: Source,
    parts: SplitSounds,
    settings: L2iSettings,
    options: InterpreterOptions,
    noise: Noise,
) -> InterpreterConfig:
    """The config of the run, written with its dictionary, or of the run that is resumed, where it fits."""
    started = InterpreterStart(
        by_design=settings.by_design,
        classifier_sha256=source.fingerprint(),
        noise_sha256=noise.sha256 or UNSET,
        training=to_record(settings),
        start=None if options.start is None else Path(options.start).name,
        clips=parts.counts(),
    )
    if not (options.resume and run.config_path.exists()):
        given = options.start or options.dictionary
        learnt = _dictionary(given, source, parts.training, settings, quiet=options.quiet)
        _write_beginning(run, source, learnt, settings, started)
        return run.read_config(InterpreterConfig)
    require_same(run, started)
    if options.dictionary is not None:
        other = RunDirectory(Path(options.dictionary), "interpreter")
        if not np.array_equal(_spectra(run, source).values, _spectra(other, source).values):
            raise RunError(
                f"{run.path}: was started with another --dictionary than that of {other.path}; leave "
                "--dictionary out"
            )
    config = run.read_config(InterpreterConfig)
    if config.mask_power != MASK_POWER and not run.weights_path.exists():
        raise RunError(
            f"{run.path}: was started by an earlier release, for masks of another power; train it again from "
            "the start, into a new folder"
        )
    return config


def _dictionary(
    given: str | Path | None, source: Source, training: Sounds, settings: L2iSettings, *, quiet: bool
) -> LearntDictionary:
    """The dictionary of another run, or one learnt on the training clips."""
    if given is not None:
        other = RunDirectory(Path(given), "interpreter")
        learnt = _spectra(other, source)
        if settings.components not in (None, learnt.components):
            raise RunError(
                f"{other.path}: its dictionary has {learnt.components} components, not "
                f"{settings.components}; leave --components out"
            )
        return learnt
    bar = Progress(len(training.clips), "learning the dictionary", quiet=quiet)

    def spectra() -> Iterator[tuple[str, FloatArray]]:
        for clip, waveform in zip(training.clips, training.waveforms, strict=True):
            parts_of_data = stft(torch.from_numpy(waveform)[None], source.analysis)[0]
            yield clip.name, torch.log1p(torch.sqrt(parts_of_data.square().sum(dim=-1))).numpy()
            bar.step()

    try:
        return learn_dictionary(
            spectra(),
            settings.components,
            sparsity=settings.sparsity,
            seed=settings.seed,
            separate=settings.spectra == "parts",
        )
    except DataError as error:
        raise DataError(f"{source.name}: no dictionary can be learnt: {error}") from error
    finally:
        bar.close()


def _spectra(run: RunDirectory, source: Source) -> LearntDictionary:
    """The dictionary of a run as it was learnt: every spectrum once."""
    values, scale = read_dictionary(run, source)
    config = run.read_config(InterpreterConfig)
    learnt = LearntDictionary(values, scale, config.dictionary.error)
    return learnt.once() if config.interpreter.spectra else learnt


def _beginning(
    form: InterpreterForm,
    values: FloatArray,
    scale: FloatArray,
    settings: L2iSettings,
    start: str | Path | None,
) -> Interpreter:
    """The interpreter before its training: new, or another run's, or RunError where that is unlike it."""
    with new_weights(settings.seed, exact=settings.exact):
        interpreter = form.build()
    interpreter.set_dictionary(torch.from_numpy(values), torch.from_numpy(scale))
    if start is None:
        return interpreter
    other = RunDirectory(Path(start), "interpreter")
    config = other.read_config(InterpreterConfig)
    if config.by_design or config.interpreter != form:
        what = "one by design" if config.by_design else "of another form or over other feature maps"
        raise RunError(f"{other.config_path}: its interpreter is {what}; begin with one like this, post-hoc")
    other.fill(interpreter)
    return interpreter.requires_grad_(requires_grad=True)


def _write_beginning(
    run: RunDirectory,
    source: Source,
    learnt: LearntDictionary,
    settings: L2iSettings,
    started: InterpreterStart,
) -> None:
    """The run's dictionary, its plot, and the config that the training goes by."""
    form = interpreter_form(source, learnt.components, settings.interpreter, settings.width)
    write_dictionary(run.path, learnt.twice() if form.spectra else learnt)
    usual = 0.3 if source.task == "multi_label" else 0.2
    record = DictionaryRecord(
        sample_rate=source.sample_rate,
        analysis=source.analysis,
        error=round(learnt.error, 6),
        silent=learnt.silent,
    )
    threshold = usual if settings.threshold is None else settings.threshold
    run.write_config(
        InterpreterConfig(
            **msgspec.structs.asdict(started),
            interpreter=form,
            dictionary=record,
            threshold=threshold,
            mask_power=MASK_POWER,
        )
    )


@torch.no_grad()
def _activations(
    frozen: FrozenClassifier, training: InterpreterTraining, parts_of_data: Sequence[Sounds]
) -> Iterator[tuple[str, float, FloatArray]]:
    """Every sounding clip's activations [K, T], window by window."""
    samples, rate = frozen.samples, frozen.source.sample_rate
    for sounds in parts_of_data:
        for clip, waveform in zip(sounds.clips, sounds.waveforms, strict=True):
            if not waveform.any():
                continue
            for start in range(0, len(waveform), samples):
                piece = waveform[start : start + samples]
                # A clip's last milliseconds are no window of their own.
                if start and len(piece) <= longest_window(samples) - samples:
                    continue
                padded = np.zeros((1, samples), dtype=np.float32)
                padded[0, : len(piece)] = piece
                windows = frozen.forward(torch.from_numpy(padded))
                output = training.interpreter(*training.inputs_of(windows))[0][0]
                yield clip.name, start / rate, output.float().cpu().numpy()
