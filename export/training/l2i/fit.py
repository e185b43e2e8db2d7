"""The two ways of training an interpreter: after the fact, and by design."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from ...graphs.stft import stft
from ...models.interpreter import ByDesign, Interpreter
from ...models.interpreters import InterpreterForm
from ...source.exportable import FloatArray
from ...source.source import Source
from ...sources.run.directory import RunDirectory
from ..augmentation import mask_stretches, mixup, place, random_gain
from ..frozen_classifier import ClassifierPass, FrozenClassifier
from ..lmac.mixtures import Batch, MixtureBatches
from ..loop import batches, fit
from ..over_source import Parts
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
class Task:
    """One training: where it goes, over which classifier, by which dictionary [F, K], on what.

    source: the classifier that is explained; by design its `classifier` is a `ByDesign` of `interpreter`
    """

    run: RunDirectory
    source: Source
    form: InterpreterForm
    interpreter: Interpreter
    values: FloatArray
    threshold: float
    parts: Parts
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

    @property
    def parts_of_method(self) -> tuple[Interpreter, list[str], torch.Tensor]:
        """What `judge` asks for."""
        return self.interpreter, self.form.inputs, self.dictionary

    def take(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Put weights into what is trained, and stop training it."""
        self.trained.to(device=self.device, dtype=self.dtype)
        self.trained.load_state_dict(weights)
        self.trained.eval()

    def interpret(self, windows: ClassifierPass) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Activations, z and logits of a forward pass of the classifier."""
        activations, z, logits = self.interpreter(*(windows.tensors[name] for name in self.form.inputs))
        return activations, z, logits

    def fit(self, judging: FrozenClassifier, **given: Any) -> dict[str, torch.Tensor]:
        """`loop.fit` with what both ways share. `judging` hears with the classifier that is explained."""
        settings, sounds = self.settings, self.parts.stopping
        dictionary, by_design = self.dictionary, self.settings.by_design

        def evaluate(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
            now = {name: value.clone() for name, value in self.trained.state_dict().items()}
            self.take(weights)
            method = self.interpreter, self.form.inputs, dictionary
            figures = (
                accuracy(judging, self.parts.validation)
                if by_design
                else judge(judging, *method, sounds.waveforms, self.threshold)
            )
            self.trained.load_state_dict(now)
            return figures

        return fit(
            self.run,
            self.trained,
            epochs=settings.epochs,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            ema_decay=settings.ema_decay,
            seed=settings.seed,
            evaluate=evaluate,
            curves={t: n for t, n in _CURVES.items() if ("by design" in t) == by_design or n == ["loss"]},
            exact=settings.exact,
            merit=merit if sounds.clips else None,
            patience=settings.patience if sounds.clips else 0,
            **given,
        )


def fit_post_hoc(
    task: Task,
    frozen: FrozenClassifier,
    noises: Sequence[FloatArray],
    *,
    quiet: bool,
) -> dict[str, torch.Tensor]:
    """Train psi and theta over the frozen classifier of `frozen`; returns the best epoch's weights."""
    settings, dictionary = task.settings, task.dictionary
    mixtures = MixtureBatches(task.parts.training.waveforms, frozen.samples, settings, noises)
    task.interpreter.to(device=task.device, dtype=task.dtype)

    def loss_of(batch: Batch, progress: float) -> torch.Tensor:
        windows = frozen.forward(torch.from_numpy(batch.mixed))
        with frozen.mixed_precision():
            activations, z, logits = task.interpret(windows)
        activations, z, logits = (t.to(task.dtype) for t in (activations, z, logits))
        loss = nmf_terms(activations, dictionary, windows.log_amplitude, settings)
        scores = frozen.scores(windows.logits)
        loss = loss + settings.answer_weight * cross_entropy(logits, scores, task.source.task)
        if settings.removal_weight and progress > _SAYS_SOMETHING:
            # Of every other sound: asking the classifier again is what the training mostly costs.
            half = windows.part(_HALF)
            loss = loss + settings.removal_weight * removal(
                half.logits,
                (activations[_HALF], task.interpreter.weight, z[_HALF]),
                dictionary,
                task.threshold,
                lambda gains: frozen.scores(frozen.scaled(half, gains)),
            )
        return loss

    return task.fit(
        frozen,
        steps=mixtures.steps,
        batch_of=mixtures,
        loss_of=loss_of,
        quiet=quiet,
    )


def fit_by_design(task: Task, *, quiet: bool) -> dict[str, torch.Tensor]:
    """Train backbone, psi and theta by the clips' labels; returns the best epoch's weights."""
    settings, dictionary, sounds = task.settings, task.dictionary, task.parts.training
    judging = FrozenClassifier(task.source, exact=settings.exact, device=task.device)
    model = task.source.classifier
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
            spectrum = stft(torch.from_numpy(windows).to(task.device, task.dtype), task.source.analysis)
            kept = mask_stretches(torch.ones(spectrum.shape[:3], dtype=task.dtype), random)
            yield spectrum * kept.to(task.device)[..., None], torch.from_numpy(targets).to(spectrum)

    def scores_without(spectrum: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
        # As it would answer, and with weights that do not learn from it: a classifier that is only ever asked
        # to find nothing in such sounds learns to find nothing.
        still = {name: parameter.detach() for name, parameter in model.named_parameters()}
        model.eval()
        with judging.mixed_precision():
            left = functional_call(model, still, (spectrum * gains[..., None],))[0].to(task.dtype)
        model.train()
        return judging.scores(left)

    def loss_of(batch: tuple[torch.Tensor, torch.Tensor], progress: float) -> torch.Tensor:
        spectrum, targets = batch
        with judging.mixed_precision():
            activations, z, logits, *_ = model.interpreted(spectrum)
        activations, z, logits = (t.to(task.dtype) for t in (activations, z, logits))
        amplitude = torch.sqrt(spectrum.square().sum(dim=-1) + 1e-14)
        loss = nmf_terms(activations, dictionary, torch.log1p(amplitude), settings)
        if settings.removal_weight and progress > _SAYS_SOMETHING:
            loss = loss + settings.removal_weight * removal(
                logits[_HALF].detach(),
                (activations[_HALF], task.interpreter.weight, z[_HALF]),
                dictionary,
                task.threshold,
                lambda gains: scores_without(spectrum[_HALF], gains),
            )
        labels = task_loss(logits, targets, task.source.task, settings.label_smoothing)
        if task.source.task == "multi_label":
            # A sum over the labels, as after the fact.
            labels = labels * targets.shape[1]
        return loss + settings.answer_weight * labels

    return task.fit(
        judging,
        steps=len(batches(len(sounds.clips), settings.batch_size, np.random.default_rng(0))),
        batch_of=batch_of,
        loss_of=loss_of,
        quiet=quiet,
    )
