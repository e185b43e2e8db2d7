"""The trained parts of run directories (decoder, interpreter, U), put to work on a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from msgspec import UNSET

from ....errors import RunError, SourceError
from ....runtime.bundle.manifest import ComponentsSpec
from ...graphs.heads import LearntRotation
from ...models.interpreter import ByDesign, Interpreter
from ...models.interpreters import InterpreterForm
from ...source.exportable import Exportable
from ...source.source import Source, without_decoder, without_interpreter
from ..onnx.file import OnnxSource
from ..onnx.trainable import trainable
from .config import ApexConfig, DecoderConfig, InterpreterConfig, OverClassifier
from .dictionary import read_dictionary
from .directory import RunDirectory, RunPart
from .rotation import PART, read_rotation

OverConfig = TypeVar("OverConfig", bound=OverClassifier)
Kind = TypeVar("Kind", bound=Exportable)


def with_parts(
    source: Exportable,
    decoder: Path | str | bool,
    interpreter: Path | str | bool,
    apex: Path | str | None,
) -> Exportable:
    """The source with the parts that are asked for, as `sources.open_source` has them.

    Raises SourceError where they do not belong to it, or it is none that has parts to choose; RunError where
    one is missing, unfinished or damaged.
    """
    if apex is not None:
        try:
            source = with_apex(source, Path(apex))
        except RunError as error:
            raise SourceError(str(error)) from error
    if decoder is True and interpreter is True:
        return source
    decoder_run, interpreter_run = _run(decoder, "decoder"), _run(interpreter, "interpreter")
    if isinstance(source, OnnxSource) and (decoder_run or interpreter_run):
        # A graph from a file shows the feature maps that its parts read.
        read = [] if decoder_run is None else decoder_run.read_config(DecoderConfig).decoder.inputs
        if interpreter_run is not None:
            read = [*read, *interpreter_run.read_config(InterpreterConfig).interpreter.inputs]
        source = trainable(source, list(dict.fromkeys(read)))
    if not isinstance(source, Source):
        raise SourceError(
            f"{source.name}: has no decoder or interpreter to choose: it is no source in PyTorch"
        )
    if decoder is not True:
        source = without_decoder(source)
    if interpreter is not True:
        source = without_interpreter(source)
    if decoder_run is not None:
        source = with_decoder(source, decoder_run)
    if interpreter_run is not None:
        source = with_interpreter(source, interpreter_run)
        if decoder_run is not None and source.decoder is None:
            raise SourceError(
                f"{interpreter}: an interpreter by design is a classifier of its own, for which the decoder "
                f"{decoder} was not trained; leave the decoder out"
            )
    return source


def _run(part: Path | str | bool, name: RunPart) -> RunDirectory | None:
    return None if isinstance(part, bool) else RunDirectory(Path(part), name)


def with_decoder(source: Source, run: RunDirectory) -> Source:
    """The source with the run's decoder.

    Args:
        source: Over whose classifier the decoder was trained.
        run: The decoder's part of a run directory.

    Returns:
        The source, whose masks are those of the decoder chained behind its own taps.

    Raises:
        SourceError: It was trained over another classifier, or reads what this one does not show.
        RunError: It is missing, unfinished or damaged.

    """
    config = _config_over(source, run, DecoderConfig)
    form = config.decoder
    _require_shown(source, run, form.inputs, "stft", "target")
    decoder = form.build()
    run.fill(decoder)
    return replace(
        without_decoder(source),
        decoder=decoder,
        decoder_taps=form.inputs,
        mask_targets=config.mask_targets,
        mask_gain=config.listened_gain,
        evaluation={**source.evaluation, **config.figures("validation")},
    )


def with_interpreter(source: Source, run: RunDirectory) -> Source:
    """The source with the run's interpreter; where that is the classifier by design, as such.

    By design there is no decoder, which would explain another classifier, and no additive contributions.

    Args:
        source: Over whose classifier the interpreter was trained.
        run: The interpreter's part of a run directory.

    Returns:
        The source with interpreter, components and dictionary.

    Raises:
        SourceError: It was trained over another classifier, or reads what this one does not show.
        RunError: It is missing, unfinished or damaged.

    """
    config = _config_over(source, run, InterpreterConfig)
    form = config.interpreter
    _require_shown(source, run, form.inputs, "stft")
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
        without_decoder(source),
        classifier=classifier.eval(),
        feature_map=feature_map,
        head_layers=(),
        own_reference=None,
        description=f"{source.description} Its logits are those of its NMF components, by design.".strip(),
    )


def with_apex(source: Kind, folder: Path) -> Kind:
    """The source with the U in `folder`. Raises SourceError where it was learnt over another classifier."""
    run = RunDirectory(folder, PART)
    rotation, config = read_rotation(run), run.read_config(ApexConfig)
    if config.classifier_sha256 != source.fingerprint():
        raise SourceError(
            f"{run.weights_path}: was learnt over another classifier than {source.name}; run earmark train "
            "apex again"
        )
    if source.feature_map is None or len(rotation) != source.feature_map.channels:
        raise SourceError(
            f"{run.weights_path}: is no U of {source.name}'s channels; run earmark train apex again"
        )
    if config.report is UNSET:
        raise SourceError(
            f"{folder}: the training of U is not finished; go on with earmark train apex --resume"
        )
    return replace(source, apex=LearntRotation(rotation, config.report))


def _config_over(source: Source, run: RunDirectory, kind: type[OverConfig]) -> OverConfig:
    """The part's config. Raises SourceError where it was trained over another classifier, else RunError."""
    config = run.read_config(kind)
    if config.classifier_sha256 != source.fingerprint():
        raise SourceError(
            f"{run.weights_path}: was trained over another classifier than {source.name}; train the "
            f"{run.part} again"
        )
    return config


def _require_shown(source: Source, run: RunDirectory, inputs: list[str], *always: str) -> None:
    """Raise SourceError where the part reads `inputs` that are neither taps of the source nor `always`."""
    strange = [name for name in inputs if name not in source.taps and name not in always]
    if strange:
        raise SourceError(f"{run.config_path}: reads {', '.join(strange)}, which {source.name} does not show")
