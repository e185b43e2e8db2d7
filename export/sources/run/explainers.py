"""Decoder and interpreter of a run directory, put to work on a source."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
from msgspec import UNSET

from ....errors import BundleError, RunError, SourceError
from ....runtime.bundle.manifest import AnalysisSpec, ComponentsSpec
from ....runtime.bundle.npz import read_arrays
from ....runtime.values.arrays import FloatArray
from ...models.interpreter import ByDesign, Interpreter
from ...models.interpreters import InterpreterForm
from ...source.source import Source, without_decoder, without_interpreter
from .config import DecoderConfig, InterpreterConfig, TappedConfig
from .directory import RunDirectory

# Of an interpreter's part of a run directory.
DICTIONARY = "dictionary.npz"
_MOST_BYTES = 256 << 20


def explained_by(
    source: Source, *, decoder: RunDirectory | bool = True, interpreter: RunDirectory | bool = True
) -> Source:
    """The source with the explainers that are asked for.

    An interpreter by design becomes the classifier, and leaves out the decoder, which is another's.

    Args:
        source: Over whose classifier they were trained.
        decoder: True: its own; False: none; a part of a run directory takes its place.
        interpreter: The same for the interpreter.

    Raises:
        SourceError: One was trained over another classifier, or reads what this one does not show.
        RunError: One is missing, unfinished or damaged.

    """
    masks = decoder.read_config(DecoderConfig) if isinstance(decoder, RunDirectory) else None
    components = interpreter.read_config(InterpreterConfig) if isinstance(interpreter, RunDirectory) else None
    by_design = components is not None and components.by_design
    classifier = "" if masks is None and components is None else source.fingerprint()
    if decoder is not True or by_design:
        source = without_decoder(source)
    if interpreter is not True:
        source = without_interpreter(source)
    if isinstance(decoder, RunDirectory) and masks is not None and not by_design:
        _check_over(source, classifier, decoder, masks)
        module = masks.decoder.build()
        decoder.fill(module)
        source = replace(
            source,
            decoder=module,
            decoder_taps=masks.inputs,
            mask_targets=masks.mask_targets,
            mask_gain=masks.listened_gain,
            evaluation={**source.evaluation, **masks.figures("validation")},
        )
    if isinstance(interpreter, RunDirectory) and components is not None:
        _check_over(source, classifier, interpreter, components)
        source = _interpreted(source, interpreter, components)
    return source


def _check_over(source: Source, classifier: str, run: RunDirectory, config: TappedConfig) -> None:
    """Raise SourceError where a part was not trained over the source's classifier, of this fingerprint."""
    strange = [name for name in config.inputs if name not in source.taps and name not in config.always_shown]
    if config.classifier_sha256 != classifier:
        raise SourceError(
            f"{run.weights_path}: was trained over another classifier than {source.name}; train the "
            f"{run.part} again"
        )
    if strange:
        raise SourceError(f"{run.config_path}: reads {', '.join(strange)}, which {source.name} does not show")


def _interpreted(source: Source, run: RunDirectory, config: InterpreterConfig) -> Source:
    """The source with the run's interpreter; where that is the classifier by design, as such."""
    form = config.interpreter
    values, _ = read_dictionary(run, source)
    if values.shape[1] != form.components:
        raise RunError(f"{run.config_path}: says {form.components} components, its dictionary has others")
    interpreter = form.build()
    if config.by_design:
        source = as_designed(source, form, interpreter)
        run.fill(source.classifier)
    else:
        run.fill(interpreter)
    if config.facts is UNSET:
        raise RunError(f"{run.config_path} is incomplete or damaged; train the interpreter again")
    spec = ComponentsSpec(
        count=int(values.shape[1]),
        sample_rate=source.sample_rate,
        analysis=source.analysis,
        threshold=config.threshold,
        mask_power=config.mask_power,
        by_design=config.by_design,
        components=config.facts,
    )
    theta = interpreter.weight.detach().numpy().astype(np.float32)
    return replace(
        source,
        interpreter=interpreter,
        interpreter_taps=form.inputs,
        components=spec,
        dictionary={"dictionary": values, "theta": theta},
        evaluation={**source.evaluation, **config.figures("interpreter")},
    )


def as_designed(source: Source, form: InterpreterForm, interpreter: Interpreter) -> Source:
    """The source whose classifier is theta(psi(.)) over its own backbone (the modules are shared).

    No additive contributions; it has no decoder, which would explain another classifier.
    Raises SourceError where the classifier does not eat the listenable spectrogram, or stays as it is.
    """
    if not source.trained:
        raise SourceError(
            f"{source.name}: a graph from a file goes into the bundle as it is, and by design its classifier "
            "would be trained; train the interpreter after the fact"
        )
    if source.rescore != "spectrogram":
        raise SourceError(
            f"{source.name}: eats features of its own; by design needs a classifier of the spectrogram"
        )
    classifier = ByDesign(source.classifier, interpreter, list(source.taps), form.inputs)
    feature_map = source.feature_map
    if feature_map is not None:
        # Its logits come through psi and theta, of which a channel has no share of its own.
        feature_map = msgspec.structs.replace(feature_map, additive=False, pooling="other")
    return replace(
        source,
        classifier=classifier.eval(),
        feature_map=feature_map,
        head_layers=(),
        own_reference=None,
        description=f"{source.description} Its logits are those of its NMF components, by design.".strip(),
    )


def read_dictionary(run: RunDirectory, source: Source) -> tuple[FloatArray, FloatArray]:
    """The run's dictionary [F, K] and the scale of its activations [K].

    Raises RunError where it is missing, damaged, or was learnt on another spectrogram than the source's.
    """
    path = run.path / DICTIONARY
    record = run.read_config(InterpreterConfig).dictionary
    learnt = (record.sample_rate, record.analysis)
    if learnt != (source.sample_rate, source.analysis):
        raise RunError(
            f"{path}: was learnt on {_spectrogram_of(*learnt)}, but {source.name} hears "
            f"{_spectrogram_of(source.sample_rate, source.analysis)}; learn one for it"
        )
    try:
        arrays = read_arrays(path, most_bytes=_MOST_BYTES, wanted={"dictionary", "scale"}.__contains__)
    except (BundleError, OSError) as error:
        raise RunError(f"{path}: cannot be read; train the interpreter again") from error
    # Copied, as they are handed to torch, which wants to write.
    values, scale = (None if name not in arrays else arrays[name].copy() for name in ("dictionary", "scale"))
    bins = source.analysis.n_fft // 2 + 1
    if values is None or scale is None or values.ndim != 2 or scale.shape != values.shape[1:]:
        raise RunError(f"{path}: holds no dictionary with its scale; train the interpreter again")
    if len(values) != bins or not np.isfinite(values).all() or values.min() < 0 or scale.min() <= 0:
        raise RunError(f"{path}: is no dictionary of {bins} bins; train the interpreter again")
    return values, scale


def _spectrogram_of(sample_rate: int, analysis: AnalysisSpec) -> str:
    """A spectrogram in a few words."""
    return (
        f"spectrograms at {sample_rate} Hz (n_fft {analysis.n_fft}, {analysis.window} "
        f"{analysis.window_length}, hop {analysis.hop}, {analysis.padding})"
    )
