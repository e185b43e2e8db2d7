"""The two ways of training an interpreter: after the fact, and by design."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from ....runtime.values.arrays import FloatArray
from ...graphs.stft import magnitude, stft
from ...models.interpreter import ByDesign, Interpreter
from ...models.interpreters import InterpreterForm
from ...source.source import Source
from ...sources.run.directory import RunDirectory
from ..augmentation import mask_stretches, mixup, place, random_gain
from ..frozen_classifier import ClassifierPass, FrozenClassifier
from ..lmac.mixtures import MixtureBatch, MixtureBatches
from ..loop import Batch, Objective, batches, fit
from ..noise import Noise
from ..over_source import SplitSounds
from ..scoring import task_loss
from .judge import accuracy, judge, merit
from .loss import cross_entropy, nmf_terms, removal
from .settings import L2iSettings

# Part of the training after which there is a selection to speak of, and the sounds that it is removed from.
_SAYS_SOMETHING, _HALF = 0.1, slice(None, None, 2)
_CURVES = {
    "loss": ["loss"],
    "validation, by design": ["accuracy", "f1"],
    "fidelity to the classifier": ["fidelity_top1", "fidelity_top3", "fidelity_f1"],
    "score lost without the components, and without random ones": ["faithfulness", "random_faithfulness"],
    "reconstruction |X - W H| / |X|": ["reconstruction"],
}


@dataclass(frozen=True)
class InterpreterTraining:
    """One training: where it goes, over which classifier, by which dictionary [F, K], on what.

    source: the classifier that is explained; by design its `classifier` is a `ByDesign` of `interpreter`
    """

    run: RunDirectory
    source: Source
    form: InterpreterForm
    interpreter: Interpreter
    values: FloatArray
    threshold: float
    parts: SplitSounds
    settings: L2iSettings
    device: torch.device

    @property
    def trained(self) -> nn.Module:
        """What learns, and what is written down."""
        return self.source.classifier if self.settings.by_design else self.interpreter

    @property
    def dtype(self) -> torch.dtype:
        """Of the training."""
        return torch.float64 if self.settings.exact else torch.float32

    @property
    def dictionary(self) -> torch.Tensor:
        """W [F, K] where it is needed."""
        return torch.from_numpy(self.values).to(self.device, self.dtype)

    def take(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Put weights into what is trained, and stop training it."""
        self.trained.to(device=self.device, dtype=self.dtype)
        self.trained.load_state_dict(weights)
        self.trained.eval()

    def inputs_of(self, windows: ClassifierPass) -> list[torch.Tensor]:
        """What the interpreter reads of a forward pass of the classifier."""
        return [windows.tensors[name] for name in self.form.inputs]

    def judge(self, frozen: FrozenClassifier, waveforms: Sequence[FloatArray]) -> dict[str, float]:
        """The figures of `judge.judge` over `waveforms` [N], with the classifier that is explained."""
        return judge(frozen, self.interpreter, self.form.inputs, self.dictionary, waveforms, self.threshold)

    def objective(
        self,
        frozen: FrozenClassifier,
        steps: int,
        batch_of: Callable[[int], Iterable[Batch]],
        loss_of: Callable[[Batch, float], torch.Tensor],
    ) -> Objective[Batch]:
        """What is trained for, with the figures that suit the way; `frozen` is what is explained."""
        settings, sounds, by_design = self.settings, self.parts.stopping, self.settings.by_design

        def evaluate(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
            now = {name: value.clone() for name, value in self.trained.state_dict().items()}
            self.take(weights)
            figures = (
                accuracy(frozen, self.parts.validation) if by_design else self.judge(frozen, sounds.waveforms)
            )
            self.trained.load_state_dict(now)
            return figures

        return Objective(
            steps=steps,
            batch_of=batch_of,
            loss_of=loss_of,
            evaluate=evaluate,
            curves={t: n for t, n in _CURVES.items() if ("by design" in t) == by_design or n == ["loss"]},
            merit=merit if sounds.clips else None,
            patience=settings.patience if sounds.clips else 0,
        )


def fit_post_hoc(
    training: InterpreterTraining, frozen: FrozenClassifier, noise: Noise, *, quiet: bool
) -> dict[str, torch.Tensor]:
    """Train psi and theta over the frozen classifier of `frozen`; returns the best epoch's weights."""
    settings, dictionary = training.settings, training.dictionary
    mixtures = MixtureBatches(training.parts.training.waveforms, frozen.samples, settings, noise)
    training.interpreter.to(device=training.device, dtype=training.dtype)

    def loss_of(batch: MixtureBatch, progress: float) -> torch.Tensor:
        windows = frozen.forward(torch.from_numpy(batch.mixed))
        inputs = training.inputs_of(windows)
        with frozen.mixed_precision():
            own, z, logits = training.interpreter.unfitted(*inputs)
        own, z, logits = (t.to(training.dtype) for t in (own, z, logits))
        activations = training.interpreter.fitted(inputs[0], own)
        loss = nmf_terms((own, activations), dictionary, windows.log_amplitude, settings)
        scores = frozen.scores(windows.logits)
        loss = loss + settings.answer_weight * cross_entropy(logits, scores, training.source.task)
        if settings.removal_weight and progress > _SAYS_SOMETHING:
            # Of every other sound: asking the classifier again is what the training mostly costs.
            half = windows.part(_HALF)
            loss = loss + settings.removal_weight * removal(
                half.logits,
                (activations[_HALF], training.interpreter.weight, z[_HALF]),
                dictionary,
                training.threshold,
                lambda gains: frozen.scores(frozen.scaled(half, gains)),
            )
        return loss

    objective = training.objective(frozen, mixtures.steps, mixtures, loss_of)
    return fit(training.run, training.trained, settings, objective, quiet=quiet)


def fit_by_design(training: InterpreterTraining, *, quiet: bool) -> dict[str, torch.Tensor]:
    """Train backbone, psi and theta by the clips' labels; returns the best epoch's weights."""
    settings, dictionary, sounds = training.settings, training.dictionary, training.parts.training
    judging = FrozenClassifier(training.source, exact=settings.exact, device=training.device)
    model = training.source.classifier
    assert isinstance(model, ByDesign)  # noqa: S101 (as_designed has made it)
    # FrozenClassifier has frozen it.
    model.requires_grad_(requires_grad=True)

    def batch_of(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        random = np.random.default_rng([settings.seed, epoch])
        for chosen in batches(len(sounds.clips), settings.batch_size, random):
            windows = np.stack([place(sounds.waveforms[i], judging.samples, random) for i in chosen])
            windows *= random_gain(len(chosen), random)
            targets = sounds.targets[chosen]
            windows, targets = mixup(windows, targets, settings.mixup, random)
            spectrum = stft(
                torch.from_numpy(windows).to(training.device, training.dtype), training.source.analysis
            )
            kept = mask_stretches(torch.ones(spectrum.shape[:3], dtype=training.dtype), random)
            yield spectrum * kept.to(training.device)[..., None], torch.from_numpy(targets).to(spectrum)

    def scores_without(spectrum: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
        # As it would answer, and with weights that do not learn from it: a classifier that is only ever asked
        # to find nothing in such sounds learns to find nothing.
        still = {name: parameter.detach() for name, parameter in model.named_parameters()}
        model.eval()
        with judging.mixed_precision():
            left = functional_call(model, still, (spectrum * gains[..., None],))[0].to(training.dtype)
        model.train()
        return judging.scores(left)

    def loss_of(batch: tuple[torch.Tensor, torch.Tensor], progress: float) -> torch.Tensor:
        spectrum, targets = batch
        with judging.mixed_precision():
            own, z, logits, *_ = model.interpreted(spectrum)
        own, z, logits = (t.to(training.dtype) for t in (own, z, logits))
        activations = training.interpreter.fitted(spectrum, own)
        log_amplitude = torch.log1p(magnitude(spectrum))
        loss = nmf_terms((own, activations), dictionary, log_amplitude, settings)
        if settings.removal_weight and progress > _SAYS_SOMETHING:
            loss = loss + settings.removal_weight * removal(
                logits[_HALF].detach(),
                (activations[_HALF], training.interpreter.weight, z[_HALF]),
                dictionary,
                training.threshold,
                lambda gains: scores_without(spectrum[_HALF], gains),
            )
        labels = task_loss(logits, targets, training.source.task, settings.label_smoothing)
        if training.source.task == "multi_label":
            # A sum over the labels, as after the fact.
            labels = labels * targets.shape[1]
        return loss + settings.answer_weight * labels

    steps = len(batches(len(sounds.clips), settings.batch_size, np.random.default_rng(0)))
    objective = training.objective(judging, steps, batch_of, loss_of)
    return fit(training.run, training.trained, settings, objective, quiet=quiet)
