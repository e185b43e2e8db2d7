"""The interpreter of a run directory, put to work on a source."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
from msgspec import UNSET

from ....errors import RunError, SourceError
from ....runtime.bundle.manifest import ComponentsSpec
from ...models.interpreter import ByDesign, Interpreter
from ...models.interpreters import InterpreterForm
from ...source.source import Source, without_decoder
from .config import InterpreterConfig
from .dictionary import read_dictionary
from .directory import RunDirectory
from .over import config_over


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
    config = config_over(source, run, InterpreterConfig)
    form = config.interpreter
    if config.by_design:
        # Another classifier than the decoder was trained for.
        source = without_decoder(source)
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

    source: without a decoder, which would explain another classifier
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
