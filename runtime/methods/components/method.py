"""The method `components`: of which sounds, learnt from the training set, the evidence consists (L2I).

Parekh et al., "Listen to Interpret", NeurIPS 2022, section 3: the interpreter draws activations H of a
dictionary W from the classifier's feature maps and says with them what the classifier says, theta z. The
relevance of component k for class c is r_k = theta_{c,k} z_k / max_j |theta_{c,j} z_j|.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....forks import fork_waits
from ...bundle.parts import StageRule
from ..protocol import Context, GraphOutput, Graphs, Inspection, Method, Sound, TimeTask
from .options import ComponentsOptions

if TYPE_CHECKING:
    from ...bundle.manifest import Manifest, MaskGain, StageSpec
    from ...bundle.open import Bundle
    from ...drawing.shown import Picture
    from ...inference.chain import ForwardPass, RunStage
    from ...inference.window import Window
    from ...values.arrays import Array, FloatArray
    from ..result import About
    from ..saved import SavedSounds
    from .explanation import ComponentsExplanation
    from .result import ComponentsResult


class Components(Method):
    """The method over a bundle with an interpreter."""

    name = "components"
    gives = ("components",)
    options = ComponentsOptions
    # The interpreter, what is made of it and rescoring are counted apart.
    own_clock = True
    rescores = True
    stages = (StageRule("interpreter", gives="activations", takes=frozenset({"stft"})),)
    # The last are the interpreter's own logits.
    outputs = tuple(GraphOutput(name, relative=True) for name in ("activations", "pooled", "interpreted"))
    has_window_mask = True
    time_rows = ("components",)

    def check(self, manifest: Manifest, path: Path) -> None:
        """Interpreter and dictionary belong together, and to this bundle. Raises BundleError."""
        from .checks import check_components

        check_components(manifest, path)

    def examine(self, bundle: Bundle) -> None:
        """Read the dictionary. Raises BundleError."""
        from .dictionary import open_dictionary

        if bundle.manifest.components is not None:
            open_dictionary(bundle.path, bundle.manifest)

    def inspect(self, bundle: Bundle) -> Inspection:
        """How many components there are, and whose."""
        spec = bundle.manifest.components
        if spec is None:
            return Inspection()
        kind = "the classifier itself, by design" if spec.by_design else "beside the classifier"
        text = f"{spec.count} in {spec.file}, relevant above {spec.threshold:g}; {kind}"
        return Inspection((("components", text),))

    def begin(self, context: Context, sound: Sound, target: int) -> ComponentsExplanation:
        """Raises MethodError without an interpreter, BundleError where its dictionary is damaged."""
        from .explanation import ComponentsExplanation
        from .interpreter import dictionary_of

        dictionary = dictionary_of(context)
        asked = context.options.threshold
        threshold = float(dictionary.spec.threshold if asked is None else asked)
        return ComponentsExplanation(context, dictionary, threshold, sound, target)

    def ask_batch(self, graphs: Graphs, window: Window) -> None:
        """Activations of all."""
        from .interpreter import interpret

        interpret(graphs, window)

    def save(self, part: ComponentsResult, folder: Path, about: About) -> None:
        """Write in components what is kept and removed, and the selected ones, or clips."""
        from ...audio.writing import fitting
        from ..saving import blocks_of, write_audio, write_clips

        if about.audio == "none":
            return
        sounds, rate, kind = folder / "components", about.sample_rate, about.format
        sounds.mkdir(exist_ok=True)
        if about.audio == "full":
            kind = fitting(kind, chain(blocks_of(part.audio), blocks_of(part.residual)))
            for name, sound in (("kept", part.audio), ("removed", part.residual)):
                write_audio(sounds / name, sound, rate, kind)
        for one in (part[index] for index in part.selected):
            if about.audio == "full":
                write_audio(sounds / f"component_{one.index}", one.audio(), rate, kind)
            else:
                write_clips(sounds / f"clip_{one.index}", one.audio(), one.spans, rate, kind)

    def pictures(self, part: ComponentsResult, about: About) -> Mapping[str, Picture]:
        """The evidence, and when each component is active."""
        from .picture import chart_of

        return {"components": chart_of(part, about)}

    def fields_type(self) -> type:
        """What it adds to a record."""
        from .document import ComponentsFields

        return ComponentsFields

    def store(self, part: ComponentsResult, arrays: dict[str, Array]) -> object:
        """The components and what they say of every label."""
        from .stored import store

        return store(part, arrays)

    def restore(self, stored: Any, arrays: Mapping[str, Array], sounds: SavedSounds) -> ComponentsResult:
        """The components again, with the sound that was saved."""
        from .stored import restore

        return restore(stored, arrays, sounds)

    def compute(
        self, run: RunStage, stages: Mapping[str, StageSpec], forward: ForwardPass, mask_gain: MaskGain
    ) -> dict[str, FloatArray]:
        """Activations, pooled activations z and the interpreter's own logits."""
        feeds = forward.feeds(stages["interpreter"])
        outputs = run("interpreter", feeds, ["activations", "pooled", "logits"])
        return {
            "activations": outputs["activations"],
            "pooled": outputs["pooled"],
            "interpreted": outputs["logits"],
        }

    @fork_waits
    def agreements(
        self, bundle: Bundle, outputs: Mapping[str, FloatArray], golden: Mapping[str, FloatArray]
    ) -> Iterator[tuple[str, FloatArray, FloatArray, str]]:
        """What is shown is the dictionary's theta, what answers is the graph's: they are one."""
        from .dictionary import open_dictionary

        if "interpreted" in golden and "pooled" in outputs:
            theta = open_dictionary(bundle.path, bundle.manifest).theta
            yield "theta", outputs["pooled"] @ theta.T, golden["interpreted"], "interpreted"

    def window_mask(self, graphs: Graphs, window: Window, target: int) -> FloatArray:
        """The soft mask of the components that are selected for the class."""
        from .interpreter import dictionary_of
        from .result import selected_of
        from .tracks import soft_mask

        dictionary = dictionary_of(graphs)
        activations, relevance = _relevant(graphs, window, target)
        return soft_mask(dictionary, activations, selected_of(relevance, dictionary.spec.threshold))

    @fork_waits
    def importance(self, row: str, task: TimeTask) -> Any:
        """Mean over the frames of each segment of sum_k max(r_k, 0) h_k."""
        import numpy as np

        from ..evidence import frames_over_segments

        activations, relevance = _relevant(task.graphs, task.window, task.target)
        over_time = np.maximum(relevance, 0.0) @ activations
        return frames_over_segments(over_time, task.graphs.manifest, task.edges)


def _relevant(graphs: Graphs, window: Window, target: int) -> tuple[FloatArray, FloatArray]:
    """Activations [K, T] of a window, and the relevance [K] of components for a class."""
    from .interpreter import dictionary_of, interpret
    from .result import relevance_of

    answers = interpret(graphs, window)
    return answers["activations"], relevance_of(dictionary_of(graphs).theta[target] * answers["pooled"])
