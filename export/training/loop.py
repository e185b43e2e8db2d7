"""Epoch by epoch: learning rate, averaged weights, metrics, and a state from which a killed run goes on.

All randomness of an epoch comes from (seed, epoch), so that the state holds no generator.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
import numpy as np
import torch
from torch import nn

from ...errors import RunError
from ...progress import Progress
from ..sources.run.directory import Row, RunDirectory
from .settings import EpochSettings

Batch = TypeVar("Batch")


@contextmanager
def new_weights(seed: int, *, exact: bool) -> Iterator[None]:
    """Within, modules are created from `seed`; in float64 where the training is `exact`.

    Drawn in float32, weights would differ by the last bit between processors before they are trained.
    """
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.float64 if exact else before)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


class AveragedWeights:
    """An exponential moving average of a model's parameters and buffers."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model after its `step`-th step; early steps count more."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1.0 - decay)
            else:
                self.values[name].copy_(value)


# Part of a training over which the learning rate rises.
_WARM = 0.1


def learning_rate(progress: float, peak: float) -> float:
    """Linear rise over the first tenth of the training, then half a cosine to nearly 0; progress in 0..1."""
    if progress < _WARM:
        return peak * (0.05 + 0.95 * progress / _WARM)
    return peak * (0.002 + 0.998 * 0.5 * (1.0 + math.cos(math.pi * (progress - _WARM) / (1.0 - _WARM))))


def batches(count: int, size: int, random: np.random.Generator) -> list[np.ndarray]:
    """A shuffled pass over `count` items; an incomplete last batch is left out where there are others."""
    order = random.permutation(count)
    if count <= size:
        return [order]
    return [order[start : start + size] for start in range(0, count - size + 1, size)]


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{index}/{key}": value
        for index, moments in optimizer.state_dict()["state"].items()
        for key, value in moments.items()
    }


def _restore(
    tensors: Mapping[str, torch.Tensor],
    model: nn.Module,
    average: AveragedWeights,
    optimizer: torch.optim.Optimizer,
) -> dict[str, torch.Tensor]:
    """Take up a saved state; returns the best epoch's weights, empty where none was chosen."""
    parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}, "best": {}}
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        if part == "optimizer":
            index, _, key = rest.partition("/")
            moments.setdefault(int(index), {})[key] = value
        else:
            parts[part][rest] = value
    model.load_state_dict(parts["model"])
    if parts["average"].keys() != average.values.keys():
        raise KeyError("averaged weights")
    for name, value in parts["average"].items():
        average.values[name].copy_(value)
    whole = optimizer.state_dict()
    whole["state"] = moments
    optimizer.load_state_dict(whole)
    return parts["best"]


class FitState(msgspec.Struct):
    """What a resumed training needs besides tensors: the metrics so far."""

    rows: list[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Objective(Generic[Batch]):
    """What is trained for: the batches, their loss, and the figures by which epochs are compared.

    Attributes:
        steps: Batches per epoch.
        batch_of: The batches of an epoch, by its number.
        loss_of: (batch, progress in 0..1) -> the loss to descend, a scalar.
        evaluate: Averaged weights -> the epoch's figures.
        curves: Titles of the plot's panels -> names of the figures drawn there.
        merit: Of an epoch's figures, higher is better: the weights of the best epoch are the result; None:
            those of the last one.
        patience: Training ends after so many epochs without a better one; 0: never early.

    """

    steps: int
    batch_of: Callable[[int], Iterable[Batch]]
    loss_of: Callable[[Batch, float], torch.Tensor]
    evaluate: Callable[[Mapping[str, torch.Tensor]], dict[str, float]]
    curves: Mapping[str, Sequence[str]]
    merit: Callable[[Mapping[str, float]], float] | None = None
    patience: int = 0


def fit(
    run: RunDirectory,
    model: nn.Module,
    settings: EpochSettings,
    objective: Objective[Batch],
    *,
    quiet: bool = True,
) -> dict[str, torch.Tensor]:
    """Train `model` by epochs with AdamW, from the run's state where there is one.

    With `settings.exact`, for a model in float64, weights are rounded to multiples of 2**-20 after each step.
    Processors differ in the last bits of a sum, and training blows such differences up until another model
    comes out; rounded away at every step, they never begin to grow.

    Args:
        run: Where metrics, plot and the state of an interrupted training are written.
        model: What learns; parameters that require no gradient stay.
        settings: Epochs, learning rate, decays, seed.
        objective: What it learns.
        quiet: No progress bar.

    Returns:
        The averaged weights of the best or of the last epoch, in float32, on the CPU.

    Raises:
        RunError: Interrupted (Ctrl-C), the loss is not finite, or the state does not fit.

    """
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.peak_rate,
    )
    if settings.exact:
        _round(model)
    average = AveragedWeights(model, settings.ema_decay)
    epochs, merit = settings.epochs, objective.merit
    best: dict[str, torch.Tensor] = {}
    rows: list[dict[str, float]] = []
    saved = run.read_state(FitState)
    if saved is not None:
        try:
            best = _restore(saved[0], model, average, optimizer)
            rows += saved[1].rows
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise RunError(f"{run.resume_path}: does not fit this training; start it again") from error
    bar = Progress(epochs, f"training the {run.part}", quiet=quiet)
    bar.forward(len(rows))
    try:
        for epoch in range(len(rows), epochs):
            if objective.patience and epoch - best_epoch(rows) > objective.patience:
                break
            row = _epoch(model, optimizer, average, epoch, settings, objective)
            row |= {name: round(value, 6) for name, value in objective.evaluate(average.values).items()}
            if merit is not None:
                row["merit"] = round(merit(row), 6)
            rows.append(row)
            if merit is not None and best_epoch(rows) == epoch:
                best = {name: value.clone() for name, value in average.values.items()}
            parts = {"model": model.state_dict(), "average": average.values, "best": best}
            parts["optimizer"] = _moments(optimizer)
            tensors = {f"{part}/{name}": v.cpu() for part, held in parts.items() for name, v in held.items()}
            run.write_state(tensors, FitState(rows))
            run.write_metrics(rows)
            shown = ("loss", "accuracy", "area", "average_drop")
            bar.step(", ".join(f"{name} {row[name]:.3f}" for name in shown if name in row))
    except KeyboardInterrupt as error:
        raise RunError(
            f"{run.path}: interrupted after {len(rows)} of {epochs} epochs of the {run.part}; "
            "the same command with --resume goes on from there"
        ) from error
    finally:
        bar.close()
    run.plot(rows, objective.curves)
    chosen = best or average.values
    return {name: v.cpu().float() if v.is_floating_point() else v.cpu() for name, v in chosen.items()}


def best_epoch(rows: Sequence[Row]) -> int:
    """Index of the epoch whose weights are kept: of most merit, or the last one where it is not looked at.

    -1 before any.
    """
    if not rows or "merit" not in rows[-1]:
        return len(rows) - 1
    return max(range(len(rows)), key=lambda index: (rows[index]["merit"], -index))


@torch.no_grad()
def _round(model: nn.Module) -> None:
    """Round the weights to multiples of 2**-20."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.mul_(2.0**20).round_().mul_(2.0**-20)


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedWeights,
    epoch: int,
    settings: EpochSettings,
    objective: Objective[Batch],
) -> dict[str, float]:
    """One pass over the data; returns the start of its metrics record."""
    started = time.perf_counter()
    total, rate, steps = 0.0, settings.peak_rate, objective.steps
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed * 1_000_003 + epoch)
        for index, batch in enumerate(objective.batch_of(epoch)):
            step = epoch * steps + index
            progress = step / (settings.epochs * steps)
            rate = learning_rate(progress, settings.peak_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            loss = objective.loss_of(batch, progress)
            if not math.isfinite(loss.item()):
                raise RunError(f"the loss is not finite in epoch {epoch + 1}; lower --lr")
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            if settings.exact:
                _round(model)
            average.update(model, step)
            total += loss.item()
    return {
        "epoch": epoch + 1,
        "loss": round(total / steps, 6),
        "lr": rate,
        "seconds": round(time.perf_counter() - started, 3),
    }
