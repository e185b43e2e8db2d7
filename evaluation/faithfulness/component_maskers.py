"""Controls for components as maskers: the soft mask of components that anyone could draw.

They are gains on the linear magnitude, as they are listened to, hence `gain`; what is removed is 1 - G. The
mask of the components that the method itself selects is the method's own window mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...runtime.bundle.manifest import Manifest, MaskGain
from ...runtime.engine import Engine
from ...runtime.inference.window import Window
from ...runtime.methods.components.dictionary import ComponentDictionary
from ...runtime.methods.components.interpreter import dictionary_of, interpret
from ...runtime.methods.components.result import relevance_of, selected_of
from ...runtime.methods.components.tracks import soft_mask
from ...runtime.values.arrays import FloatArray
from ..seeding import generator

# What the interpreter's graph gives for a window: "activations" [K, T], "pooled" [K].
Outputs = Mapping[str, FloatArray]
Choose = Callable[[ComponentDictionary, Outputs, int, np.random.Generator], tuple[int, ...]]


@dataclass(frozen=True)
class ComponentMasker:
    """The soft mask of the components that `choose` takes.

    Attributes:
        name: Its row.
        choose: (dictionary, the interpreter's outputs, target, random) -> indices of components.
        gain: "log" puts the mask on the log-magnitude, as the paper does.
        binary: False: it is used as it is.

    """

    name: str
    choose: Choose
    gain: MaskGain = "linear"
    binary: bool = False

    def gain_of(self, manifest: Manifest) -> MaskGain:
        """What its masks multiply."""
        return self.gain

    def __call__(
        self, engine: Engine, window: Window, target: int, random: np.random.Generator
    ) -> FloatArray:
        """Gain or mask [T, F] in 0..1; zeros where no component is chosen."""
        outputs = interpret(engine.graphs, window)
        dictionary = dictionary_of(engine.graphs)
        chosen = self.choose(dictionary, outputs, target, random)
        return soft_mask(dictionary, outputs["activations"], chosen)


def selected(dictionary: ComponentDictionary, pooled: FloatArray, target: int) -> tuple[int, ...]:
    """The components that the method selects for the class index `target`, given z [K]."""
    relevance = relevance_of(dictionary.theta[target] * pooled)
    return selected_of(relevance, dictionary.spec.threshold)


def random_theta(dictionary: ComponentDictionary, seed: int = 0) -> FloatArray:
    """A theta [C, K] that was never trained, as PyTorch draws a linear layer: U(-1, 1) / sqrt(K).

    The reference recipe evaluates with such a one.
    """
    bound = 1.0 / np.sqrt(dictionary.theta.shape[1])
    return generator(seed, "theta").uniform(-bound, bound, dictionary.theta.shape).astype(np.float32)


def _selected(dictionary: ComponentDictionary, outputs: Outputs, target: int, _: object) -> tuple[int, ...]:
    return selected(dictionary, outputs["pooled"], target)


def _as_many(
    dictionary: ComponentDictionary, outputs: Outputs, target: int, random: np.random.Generator
) -> tuple[int, ...]:
    """As many components as the method selects, of those active in the window, by lot."""
    active = _active(outputs)
    count = min(len(selected(dictionary, outputs["pooled"], target)), len(active))
    return tuple(int(index) for index in random.choice(active, count, replace=False))


def _as_much(
    dictionary: ComponentDictionary, outputs: Outputs, target: int, random: np.random.Generator
) -> tuple[int, ...]:
    """Active components by lot, as many as make the selected ones' area, as nearly as they can."""
    activations = outputs["activations"]
    area = soft_mask(dictionary, activations, selected(dictionary, outputs["pooled"], target)).mean()
    order = random.permutation(_active(outputs))
    areas = [0.0]
    while areas[-1] < area and len(areas) <= len(order):
        some = order[: len(areas)]
        areas.append(float(soft_mask(dictionary, activations, some.tolist()).mean()))
    count = int(np.abs(np.array(areas) - area).argmin())
    return tuple(int(index) for index in order[:count])


def _active(outputs: Outputs) -> npt.NDArray[np.intp]:
    """Components that are active at all in the window: to remove others would be no control."""
    return np.flatnonzero(outputs["activations"].max(axis=1) > 0.0)


def _untrained(seed: int) -> Choose:
    """What the recipe's setting selects, with the untrained theta of `seed`."""

    def choose(dictionary: ComponentDictionary, outputs: Outputs, target: int, _: object) -> tuple[int, ...]:
        relevance = relevance_of(random_theta(dictionary, seed)[target] * outputs["pooled"])
        return selected_of(relevance, dictionary.spec.threshold)

    return choose


def component_maskers(seed: int = 0) -> dict[str, ComponentMasker]:
    """The controls by name; `seed`: of the untrained theta."""
    maskers = (
        ComponentMasker("random_components", _as_many),
        ComponentMasker("random_components_area", _as_much),
        ComponentMasker("random_theta", _untrained(seed)),
        ComponentMasker("components_log", _selected, gain="log"),
        ComponentMasker("random_components_log", _as_many, gain="log"),
        ComponentMasker("random_components_area_log", _as_much, gain="log"),
    )
    return {masker.name: masker for masker in maskers}


# What needs an interpreter, and what of it stands in the table unless others are named.
COMPONENTS = ("components", *component_maskers())
USUAL = ("components", "random_components", "random_components_area")
