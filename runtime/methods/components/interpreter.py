"""The interpreter's answers to one window, and its dictionary, read once."""

from __future__ import annotations

from ....errors import EarmarkError, MethodError
from ...inference.window import Window
from ...values.arrays import FloatArray
from ..protocol import Graphs
from .dictionary import ComponentDictionary, open_dictionary

_CACHED = "components"


def dictionary_of(graphs: Graphs) -> ComponentDictionary:
    """The bundle's dictionary, read once an explainer. Raises as `open_dictionary`."""
    if _CACHED not in graphs.cache:
        graphs.cache[_CACHED] = open_dictionary(graphs.bundle.path, graphs.manifest)
    dictionary: ComponentDictionary = graphs.cache[_CACHED]
    return dictionary


def interpret(graphs: Graphs, window: Window) -> dict[str, FloatArray]:
    """The interpreter's `activations` [K, T], `pooled` [K] and `logits` [C] of one window.

    Raises:
        MethodError: The bundle has no interpreter.
        EarmarkError: Its answers do not fit the spectrogram.

    """
    manifest = graphs.manifest
    stage = manifest.stage("interpreter")
    if stage is None:
        raise MethodError(
            f"{manifest.name}: this bundle has no interpreter, hence no components; train one with "
            "earmark train l2i and export again"
        )
    names = ["activations", "pooled", "logits"]
    # It answers for all classes at once.
    outputs = window.further(graphs.run, stage, names, int(window.logits.argmax()))
    answers: dict[str, FloatArray] = {name: outputs[name][0] for name in names}
    frames = len(window.stft)
    if answers["activations"].shape[-1] != frames:
        raise EarmarkError(
            f"{manifest.name}: the interpreter's activations have {answers['activations'].shape[-1]} frames, "
            f"the spectrogram {frames}; export the bundle again"
        )
    return answers
