"""What an explanation method offers: one class in its own folder, one line in `runtime/registry.py`.

The runtime, `inspect`, `verify`, export and the command line loop over the methods and know none of them by
name. Everything has a default but `begin`, so a method says only what is its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import msgspec

from ..bundle.parts import StageRule
from .options import MethodOptions

if TYPE_CHECKING:
    from ..audio.sound import OpenSound
    from ..bundle.manifest import Aggregation, Manifest, MaskGain, StageSpec
    from ..bundle.open import Bundle
    from ..drawing.shown import Picture
    from ..inference.chain import ForwardPass, RunStage
    from ..inference.session import Tensors
    from ..inference.tensors import Feeds
    from ..inference.window import Clock, Window, WindowPlan
    from ..values.arrays import Array, FloatArray
    from .result import About, MethodResult
    from .saved import SavedSounds


class Sound(msgspec.Struct, frozen=True):
    """What is known of a sound before its windows are explained.

    Attributes:
        samples: Length at the model's rate.
        windows: How many there will be.
        plan: Where they lie.
        predicted: Class index that the model puts first over the whole sound.

    """

    samples: int
    windows: int
    plan: WindowPlan
    predicted: int = -1


class Graphs(msgspec.Struct, frozen=True, eq=False):
    """An open bundle whose graphs can be run.

    run(stage, feeds, outputs) and run_graph(path, feeds) give outputs by name; their time is counted

    Attributes:
        cache: Lives as long as the explainer, for what is costly to open; keys belong to the methods.

    """

    bundle: Bundle
    run: RunStage
    run_graph: Callable[[Path, Feeds], Tensors]
    cache: dict[str, Any]

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.bundle.manifest


class Context(Graphs, frozen=True, eq=False, kw_only=True):
    """What the runtime lends a method for one explanation.

    Attributes:
        clock: Counts the time of stages.
        opened: The sound, for methods that answer with sound.
        windows: Every window of it once more, in order, for methods that know only at the end what to look
            at; what is not in memory is computed again.
        logits_of: (waveforms [B, N] at the model's rate and level, precision="fp32") -> logits [B, K]: what
            the classifier gives for a changed sound ("int8": the quantised one, MethodError where there is
            none). Its time is not counted, a stage around it does that.
        rescore: Whether the user wants masked sound to be classified again.
        seed: Of all that is drawn.
        options: What the user set for this method, an instance of `Method.options`.
        makes_sound: Whether the sound of masks is made on the device, with the decoder's output "kept".
        aggregate: How scores of windows become those of the sound, as the bundle or the user says.
        stopped: Whether the time is over or the user cancels; asked between rounds of many questions.
        expectation: (window, target) -> where another method of the bundle expects the evidence [T, F], 0..1
            over the listenable STFT; None where none does. It costs a pass of a graph.

    """

    clock: Clock
    opened: OpenSound
    windows: Callable[[], Iterable[Window]]
    logits_of: Callable[..., FloatArray]
    rescore: bool
    seed: int
    options: Any = MethodOptions()
    makes_sound: Callable[[], bool] = lambda: False
    aggregate: Aggregation = "mean"
    stopped: Callable[[], bool] = lambda: False
    expectation: Callable[[Window, int], FloatArray | None] = lambda _window, _target: None


class Explanation(Protocol):
    """The running explanation of one sound for one target; memory does not grow with the sound."""

    def add(self, window: Window) -> None:
        """See one more window, each once and in order."""

    def finish(self) -> MethodResult:
        """The method's part of the result."""


@runtime_checkable
class AsksAhead(Protocol):
    """An explanation that runs its graphs on a window first, and `add` then takes the answers.

    `ask` may run in another thread, beside those of other methods; it calls nothing of the user's.
    """

    def ask(self, window: Window) -> Any:
        """Run the graphs on the next window."""

    def add(self, window: Window, answers: Any) -> None:
        """See one more window, each once and in order, with what `ask` gave for it."""

    def finish(self) -> MethodResult:
        """The method's part of the result."""


class GraphOutput(msgspec.Struct, frozen=True):
    """An output of a method's graph that is measured at export and recomputed by `earmark verify`.

    Attributes:
        relative: Its limit grows with its largest value, as of activations, which are as large as the
            spectrum.
        golden: Whether it is kept in golden.npz.

    """

    name: str
    relative: bool = False
    golden: bool = True


class Inspection(msgspec.Struct, frozen=True):
    """What `earmark inspect` tells of a method's part of a bundle: lines of (topic, text), JSON keys."""

    lines: tuple[tuple[str, str], ...] = ()
    document: Mapping[str, Any] = {}


class TimeTask(msgspec.Struct, frozen=True, eq=False):
    """One window in which a class is to be found in time.

    Attributes:
        edges: [M + 1] of the segments, seconds.
        part: The method's result for the window and the target.

    """

    graphs: Graphs
    window: Window
    target: int
    edges: Array
    part: Callable[[], MethodResult]


class Method(ABC):
    """An explanation method. Modules that import it stay light: what is heavy is imported when it is needed.

    Attributes:
        name: How it is asked for.
        gives: Attributes of `Result` and keys of its JSON.
        options: The dataclass of its options, decoded and validated in one step by `options.of`.
        on_request: What it does, in a few words, where it runs only when it is named; "" where it runs by
            default.
        own_clock: Whether it counts its stages itself; else its time is counted under its name.
        rescores: Whether `rescore=True` makes it classify what was kept and removed.
        stages: The graphs of a bundle that are its own.
        outputs: What they give, for export and verify.
        time_rows: Rows in the table of `earmark evaluate events`, see `importance`.

    """

    name: ClassVar[str]
    gives: ClassVar[tuple[str, ...]]
    options: ClassVar[type[MethodOptions]] = MethodOptions
    on_request: ClassVar[str] = ""
    own_clock: ClassVar[bool] = False
    rescores: ClassVar[bool] = False
    stages: ClassVar[tuple[StageRule, ...]] = ()
    outputs: ClassVar[tuple[GraphOutput, ...]] = ()
    has_window_mask: ClassVar[bool] = False
    time_rows: ClassVar[tuple[str, ...]] = ()

    # A bundle.

    def available(self, manifest: Manifest) -> bool:
        """Whether the bundle has what the method needs; where not, `begin` says what is missing."""
        stages = [manifest.stage(rule.name) for rule in self.stages]
        return None not in stages if stages else self.name in manifest.explainers

    def check(self, manifest: Manifest, path: Path) -> None:  # noqa: B027 (a default: nothing)
        """Raise BundleError where the manifest at `path` contradicts itself, or asks for too much."""

    def examine(self, bundle: Bundle) -> None:  # noqa: B027 (a default: nothing)
        """Look into the method's files, when a bundle is first opened on a machine. Raises BundleError."""

    def without(self, manifest: Manifest) -> Manifest:
        """The manifest without the method's part and its files, for a bundle in which they are damaged."""
        return manifest

    def inspect(self, bundle: Bundle) -> Inspection:
        """What to tell of the method's part of the bundle."""
        return Inspection()

    # An explanation.

    @abstractmethod
    def begin(self, context: Context, sound: Sound, target: int) -> Explanation | AsksAhead:
        """Begin to explain `sound` for the class index `target`.

        Raises MethodError where the bundle lacks what it needs, TargetError.
        """

    def ask_batch(self, graphs: Graphs, window: Window) -> None:  # noqa: B027 (a default: nothing)
        """Run graphs on the whole batch of a window for the classes predicted, which `ask` then need not.

        May run in another thread. What it raises is raised again by `ask`, hence is of no account.
        """

    def save(self, part: Any, folder: Path, about: About) -> None:  # noqa: B027 (a default: nothing)
        """Write the files of `part`, what `finish` gave, into a new folder: those that the table names.

        Its pictures are written without it.
        """

    def pictures(self, part: Any, about: About) -> Mapping[str, Picture]:
        """What pictures of `part` show, by the stem of the file that `Result.save` writes."""
        return {}

    def store(self, part: Any, arrays: dict[str, Array]) -> object:
        """What `restore` needs: JSON-ready values or a msgspec.Struct; arrays go into `arrays` by name.

        None, the default: the part is not saved to be loaded again.
        """
        return None

    def restore(self, stored: Any, arrays: Mapping[str, Array], sounds: SavedSounds) -> MethodResult:
        """The part that `store` was given, from what it gave in plain types.

        Both come from a file that anybody may have written: raise ValueError, KeyError or
        msgspec.ValidationError where they do not fit.
        """
        raise NotImplementedError

    def fields_type(self) -> type | None:
        """A TypedDict of what `gives` names as JSON has it, for the JSON Schema; None: whatever it is."""
        return None

    def expectation(self, graphs: Graphs, window: Window, target: int) -> FloatArray | None:
        """Where in a window evidence for the target is expected [T, F], 0..1, for methods that search for it.

        None, the default: the method does not know, or not for this target.
        """
        return None

    # Export and verify.

    def compute(
        self, run: RunStage, stages: Mapping[str, StageSpec], forward: ForwardPass, mask_gain: MaskGain
    ) -> dict[str, FloatArray]:
        """What `outputs` names, of one batch of sounds, by the method's own stages.

        mask_gain: what a decoder's mask multiplies, see `runtime/audio/stft.py`
        """
        return {}

    def agreements(
        self, bundle: Bundle, made: Mapping[str, FloatArray], golden: Mapping[str, FloatArray]
    ) -> Iterator[tuple[str, FloatArray, FloatArray, str]]:
        """More that has to agree: (name, made here, golden, the output whose limit holds)."""
        yield from ()

    def verify_files(self, bundle: Bundle) -> None:  # noqa: B027 (a default: nothing)
        """Look at what `examine` leaves out because it takes long. Raises BundleError."""

    # Evaluation.

    def window_gain(self, manifest: Manifest) -> MaskGain:
        """What `window_mask` multiplies; of the magnitude, gains of disjoint parts sum to the whole."""
        return "linear"

    def window_mask(self, graphs: Graphs, window: Window, target: int) -> FloatArray:
        """The mask or gain [T, F] 0..1 of one window, for any target, where `has_window_mask`."""
        raise NotImplementedError

    def importance(self, row: str, task: TimeTask) -> Array:
        """Importance [M] of each segment of a window's time, for one of `time_rows`."""
        raise NotImplementedError
