"""The interpreter's answers to one window, and its dictionary, read once."""

from __future__ import annotations

from ....errors import EarmarkError
from ...inference.window import Window
from ...values.arrays import FloatArray
from ..protocol import Graphs
from .dictionary import ComponentDictionary, no_interpreter, open_dictionary

_CACHED = "components"


def dictionary_of(graphs: Graphs) -> ComponentDictionary:
    """The bundle's dictionary, read once an explainer. Raises as `open_dictionary`."""
    if _CACHED not in graphs.cache:
        graphs.cache[_CACHED] = open_dictionary(graphs.bundle.path, graphs.manifest)
    dictionary: ComponentDictionary = graphs.cache[_CACHED]
    return dictionary


def interpret(graphs: Graphs, window: Window) -> dict[str, FloatArray]:
    """The interpreter's `activations` [K, T], `pooled` [K] and `logits` [C] of one window.

    Raises MethodError where the bundle has none, EarmarkError where its answers do not fit the spectrogram.
    """
    manifest = graphs.manifest
    if (stage := manifest.stage("interpreter")) is None:
        raise no_interpreter(manifest)
    names = ["activations", "pooled", "logits"]
    # It answers for all classes at once.
    outputs = window.batch.further(graphs.run, stage, names, window.row, int(window.logits.argmax()))
    answers: dict[str, FloatArray] = {name: outputs[name][0] for name in names}
    frames = len(window.stft)
    if answers["activations"].shape[-1] != frames:
        raise EarmarkError(
            f"{manifest.name}: the interpreter's activations have {answers['activations'].shape[-1]} frames, "
            f"the spectrogram {frames}; export the bundle again"
        )
    return answers
