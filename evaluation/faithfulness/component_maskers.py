"""Components as maskers: the soft mask of those selected, and the same of components that anyone could draw.

They are gains on the linear magnitude, as they are listened to, hence `linear`; what is removed is 1 - G.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...errors import MethodError
from ...runtime.arrays import FloatArray
from ...runtime.engine import Engine
from ...runtime.inference.window import Window
from ...runtime.methods.components.dictionary import ComponentDictionary
from ...runtime.methods.components.interpreter import dictionary_of, interpret
from ...runtime.methods.components.result import relevance_of, selected_of
from ...runtime.methods.components.tracks import soft_mask
from ..seeding import generator

Said = Mapping[str, FloatArray]
Choose = Callable[[ComponentDictionary, Said, int, np.random.Generator], tuple[int, ...]]


@dataclass(frozen=True)
class ComponentMasker:
    """The soft mask [T, F] of the components that `choose` takes of (dictionary, answers, target, random).

    linear: False puts the mask on the log-magnitude, as the paper and the other masks of the table do
    """

    name: str
    choose: Choose
    linear: bool = True
    binary: bool = False

    def __call__(self, engine: Engine, heard: Window, target: int, random: np.random.Generator) -> FloatArray:
        """Gain or mask [T, F] in 0..1; zeros where none is chosen."""
        said = interpret(engine.graphs, heard)
        dictionary = dictionary_of(engine.graphs)
        chosen = self.choose(dictionary, said, target, random)
        return soft_mask(dictionary.columns, said["activations"], chosen)


def selected(dictionary: ComponentDictionary, pooled: FloatArray, target: int) -> tuple[int, ...]:
    """The components that the method selects for the class index `target`."""
    relevance = relevance_of(dictionary.theta[target] * pooled)
    return selected_of(relevance, dictionary.spec.threshold)


def random_theta(dictionary: ComponentDictionary, seed: int = 0) -> FloatArray:
    """A theta [C, K] that was never trained, as PyTorch draws a linear layer: U(-1, 1) / sqrt(K).

    The reference recipe evaluates with such a one.
    """
    bound = 1.0 / np.sqrt(dictionary.theta.shape[1])
    return generator(seed, "theta").uniform(-bound, bound, dictionary.theta.shape).astype(np.float32)


def _selected(dictionary: ComponentDictionary, said: Said, target: int, _: object) -> tuple[int, ...]:
    return selected(dictionary, said["pooled"], target)


def _as_many(
    dictionary: ComponentDictionary, said: Said, target: int, random: np.random.Generator
) -> tuple[int, ...]:
    """As many components as the method selects, of those active in the window, by lot."""
    active = _active(said)
    count = min(len(selected(dictionary, said["pooled"], target)), len(active))
    return tuple(int(index) for index in random.choice(active, count, replace=False))


def _as_much(
    dictionary: ComponentDictionary, said: Said, target: int, random: np.random.Generator
) -> tuple[int, ...]:
    """Active components by lot, as many as make the selected ones' area, as nearly as they can."""
    own = soft_mask(dictionary.columns, said["activations"], selected(dictionary, said["pooled"], target))
    order = random.permutation(_active(said))
    areas = [0.0]
    while areas[-1] < own.mean() and len(areas) <= len(order):
        some = order[: len(areas)]
        areas.append(float(soft_mask(dictionary.columns, said["activations"], some.tolist()).mean()))
    count = int(np.abs(np.array(areas) - own.mean()).argmin())
    return tuple(int(index) for index in order[:count])


def _active(said: Said) -> npt.NDArray[np.intp]:
    """Components that sound at all in the window: to remove others would be no control."""
    return np.flatnonzero(said["activations"].max(axis=1) > 0.0)


def _untrained(seed: int) -> Choose:
    """What the recipe's setting selects, with the untrained theta of `seed`."""

    def choose(dictionary: ComponentDictionary, said: Said, target: int, _: object) -> tuple[int, ...]:
        relevance = relevance_of(random_theta(dictionary, seed)[target] * said["pooled"])
        return selected_of(relevance, dictionary.spec.threshold)

    return choose


_MASKERS = {
    masker.name: masker
    for masker in (
        ComponentMasker("components", _selected),
        ComponentMasker("random_components", _as_many),
        ComponentMasker("random_components_area", _as_much),
        ComponentMasker("random_theta", _untrained(0)),
        ComponentMasker("components_log", _selected, linear=False),
        ComponentMasker("random_components_log", _as_many, linear=False),
        ComponentMasker("random_components_area_log", _as_much, linear=False),
    )
}
# What needs an interpreter, and what of it stands in the table unless others are named.
COMPONENTS = tuple(_MASKERS)
USUAL = ("components", "random_components", "random_components_area")


def component_masker(name: str, seed: int = 0) -> ComponentMasker:
    """The masker of that name; `seed`: of the untrained theta. Raises MethodError where there is none."""
    if name not in _MASKERS:
        raise MethodError(f"there is no method {name!r} of components; choose one of {', '.join(COMPONENTS)}")
    masker = _MASKERS[name]
    return replace(masker, choose=_untrained(seed)) if name == "random_theta" else masker
