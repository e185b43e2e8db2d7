"""`load` and `Explainer`: a sound goes in, an explanation comes out."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from ..errors import LabelError, MethodError
from .arrays import FloatArray
from .audio.sound import OpenSound
from .batch import Failure, explained, open_any
from .bundle.open import Bundle
from .engine import Engine
from .inference.devices import DeviceRequest, Provider
from .inference.pipeline import BATCH
from .inference.scores import Aggregate, Clearest, scores_of
from .inference.window import Clock, Window
from .methods.loading import method_of
from .methods.options import MethodOptions, unknown, whole_number
from .methods.protocol import Context, Explanation, Method, Sound
from .methods.result import MethodResult
from .registry import METHODS
from .results import Result

# What a user sets for single methods: method -> its own options.
Options = Mapping[str, Mapping[str, Any]]
# What `explain_many` hands on to each sound.
_MANY = ("target", "methods", "rescore", "seed", "options", "sample_rate")
SHIPPED = Path(__file__).resolve().parent / "shipped" / "bundle"


def bundle_path(path: Path | str | None = None) -> Path:
    """The bundle meant by `path`: itself, else EARMARK_BUNDLE, else the shipped one."""
    return Path(path or os.environ.get("EARMARK_BUNDLE") or SHIPPED)


def load(
    path: Path | str | None = None,
    device: str = "auto",
    *,
    providers: Sequence[Provider] | None = None,
    session_options: Mapping[str, Any] | None = None,
) -> Explainer:
    """Open a bundle for explaining.

    What is asked for runs, or it is an error: only `device="auto"` falls back to the CPU, and `Result.device`
    says what ran.

    Args:
        path: Folder of a bundle. None: the environment's EARMARK_BUNDLE, else the bundle shipped inside the
            package, a demo; `Result.bundle` names the one that answered.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:N" or "tensorrt".
        providers: In place of a device, execution providers of the installed onnxruntime, in order of
            preference, such as OpenVINO's, CoreML's, DirectML's, ROCm's or QNN's: names, or pairs of a
            name and its options. All of them must be active in every session. Operators of the graphs
            that the first cannot run fall to the CPU, with a warning in the result.
        session_options: Settings of `onnxruntime.SessionOptions`, which go before earmark's own:
            attributes by name, such as "intra_op_num_threads", and config entries, whose names have a dot,
            such as "session.intra_op.allow_spinning". The explainer is as picklable as their values.

    Returns:
        The explainer; it creates its sessions when it first explains.

    Raises:
        BundleError: The folder is no bundle, a damaged one, or one of a newer earmark.
        DeviceError: The device or a provider is not there, or a session option does not exist.
        MissingDependencyError: No onnxruntime is installed.

    Examples:
        >>> import earmark
        >>> explainer = earmark.load(device="cpu")
        >>> explainer.labels[:2]
        ['bell', 'clap']
        >>> explainer = earmark.load(providers=[("CPUExecutionProvider", {})])
        >>> explainer.device
        'CPUExecutionProvider'

    """
    return Explainer(bundle_path(path), device, providers=providers, session_options=session_options)


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked about a sound, checked: class indices of the targets, none for the one predicted."""

    targets: tuple[int, ...]
    methods: Mapping[str, MethodOptions]
    rescore: bool
    seed: int


class Explainer:
    """Explains sounds with one bundle on one device; `load` makes it.

    Threads may share it. It is picklable: what it was made of travels, sessions do not; they are created when
    first used, in the process that uses them, and again after a fork. As a context manager it closes itself.

    Args:
        path: Folder of the bundle, or an open one.
        device: "auto", "cpu", "cuda", "cuda:N" or "tensorrt"; see `load`.
        providers: In place of a device, execution providers of onnxruntime; see `load`.
        session_options: Settings of onnxruntime's sessions; see `load`.

    Raises:
        BundleError: The folder is no bundle, a damaged one, or one of a newer earmark.
        DeviceError: The device or a provider is not there, or a session option does not exist.
        MissingDependencyError: No onnxruntime is installed.

    Examples:
        >>> with earmark.load(device="cpu") as explainer:
        ...     explainer
        Explainer('...', device='cpu')

    """

    def __init__(
        self,
        path: Path | str | Bundle,
        device: str = "auto",
        *,
        providers: Sequence[Provider] | None = None,
        session_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._engine = Engine(path, DeviceRequest.of(device, providers, session_options))

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Path, str]]:
        """The bundle's path and what was asked to run it: sessions do not travel."""
        asked = self._engine.sessions.request
        made = partial(
            type(self), providers=asked.providers or None, session_options=asked.session_options or None
        )
        return made, (self._engine.bundle.path, asked.device)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Explainer({str(self._engine.bundle.path)!r}, device={self.device!r})"

    @property
    def labels(self) -> list[str]:
        """The K classes, in the order of the logits."""
        return list(self._engine.manifest.labels)

    @property
    def methods(self) -> list[str]:
        """The explanation methods that run unless others are named; `segments` is there for any bundle."""
        # Older bundles of a bare graph name segments themselves.
        named = [name for name in self._engine.manifest.explainers if name in METHODS]
        return [name for name in named if not method_of(name).on_request]

    @property
    def device(self) -> str:
        """What runs: cpu, cuda:N or tensorrt, or the names of the providers that were asked for."""
        return self._engine.device

    def close(self) -> None:
        """Free sessions and what methods keep; the next explanation makes them again."""
        self._engine.close()

    def warm_up(self) -> None:
        """Create every session and run it once on silence, so that the first explanation is no slower.

        Raises:
            BundleError: A graph of the bundle cannot be run.
            DeviceError: What was asked for is not active.

        """
        wave = np.zeros(self._engine.pipeline.length, np.float32)
        self.explain((wave, self._engine.manifest.sample_rate), methods=self.methods)

    @overload
    def explain(
        self,
        sound: Any,
        sample_rate: int | None = None,
        *,
        target: str | None = None,
        targets: None = None,
        methods: Sequence[str] | None = None,
        rescore: bool = False,
        seed: int = 0,
        options: Options | None = None,
    ) -> Result: ...

    @overload
    def explain(
        self,
        sound: Any,
        sample_rate: int | None = None,
        *,
        targets: Sequence[str],
        methods: Sequence[str] | None = None,
        rescore: bool = False,
        seed: int = 0,
        options: Options | None = None,
    ) -> list[Result]: ...

    def explain(
        self,
        sound: Any,
        sample_rate: int | None = None,
        *,
        target: str | None = None,
        targets: Sequence[str] | None = None,
        methods: Sequence[str] | None = None,
        rescore: bool = False,
        seed: int = 0,
        options: Options | None = None,
    ) -> Result | list[Result]:
        """Explain one sound.

        Args:
            sound: A path, a binary file object, a pair (waveform, sample_rate), or a waveform [samples] or
                [channels, samples] in -1..1 with `sample_rate`.
            sample_rate: Of a bare waveform, in Hz.
            target: The label to explain; None: the one predicted.
            targets: In its place several labels: the sound is read and classified once for all of them.
            methods: Names out of `self.methods`, or "segments"; None: all of `self.methods`; []: predictions
                alone.
            rescore: Also give the scores of what was kept and of what was removed: up to four more passes.
            seed: Of everything that is drawn at random, 0 or more.
            options: Settings of single methods by name, such as {"segments": {"calls": 100}}: for segments
                the fields of `SegmentSettings`, and progress(done, budget); for components `threshold`, the
                least relevance that is selected, 0..1.

        Returns:
            The explanation; with `targets` a list of them, in their order. Timings then are of all together.

        Raises:
            AudioError: The sound cannot be read, is empty, or is not finite.
            LabelError: A target is none of the bundle's labels.
            TargetError: The bundle's decoder speaks for the predicted class alone.
            MethodError: A method or an option of one does not exist, the bundle lacks what a method needs, or
                options are given of a method that does not run.
            DeviceError: What was asked for in `load` is not active.
            MissingDependencyError: A method needs a package that is not installed.
            BundleError: The bundle is damaged.

        Examples:
            >>> import numpy as np
            >>> noise = np.random.default_rng(0).normal(size=16_000).astype("float32") * 0.1
            >>> with earmark.load(device="cpu") as explainer:
            ...     result = explainer.explain(noise, 16_000, methods=["mask"])
            >>> result.ok, result.mask.values.ndim, result.mask.audio.shape
            (True, 2, (16000,))

        """
        if targets is not None and (target is not None or isinstance(targets, str)):
            raise TypeError("explain() takes one target=, or several as a list in targets=")
        request = self._request(
            _listed(target) if targets is None else targets, methods, rescore, seed, options
        )
        if targets is not None and not targets:
            return []
        clock = Clock()
        with clock.stage("read"):
            opened = open_any(sound, sample_rate, self._engine.manifest.sample_rate)
        results = self._explain(opened, clock, request)
        return results[0] if targets is None else results

    def explain_many(
        self, sounds: Iterable[Any], *, batch_size: int = 8, **options: Any
    ) -> Iterator[Result | Failure]:
        """Explain sounds in order, in bounded memory; what fails becomes a `Failure`.

        Sounds of one window and equal length share their pass through the classifier. Whatever one sound
        raises is its own answer, also where `sounds` raises in its place.

        Args:
            sounds: Paths, binary file objects, (waveform, sample_rate) pairs or, with `sample_rate`,
                waveforms; drawn when needed.
            batch_size: Sounds that are open at a time, 1 or more.
            **options: `target`, `methods`, `rescore`, `seed`, `options` and `sample_rate` as for `explain`.

        Returns:
            An iterator over the answers, one for each sound; `.ok` tells a `Result` from a `Failure`.

        Raises:
            TypeError: An option that does not exist, or a single path.
            LabelError: The target is none of the bundle's labels.
            MethodError: A method or an option of one does not exist, or cannot run here.
            MissingDependencyError: A method needs a package that is not installed.

        Examples:
            >>> for answer in explainer.explain_many(["a.wav", "b.wav"], methods=["mask"]):  # doctest: +SKIP
            ...     print(answer.input, answer.target if answer.ok else answer.error)

        """
        if isinstance(sounds, (str, bytes, os.PathLike)):
            raise TypeError("explain_many() takes several sounds: give a list, or use explain()")
        for name in options:
            if name not in _MANY:
                near = difflib.get_close_matches(name, _MANY, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(_MANY)}"
                raise TypeError(f"explain_many() has no option {name!r}; {hint}")
        request = self._request(
            _listed(options.get("target")),
            options.get("methods"),
            bool(options.get("rescore", False)),
            options.get("seed", 0),
            options.get("options"),
        )
        sample_rate, rate = options.get("sample_rate"), self._engine.manifest.sample_rate
        return explained(
            iter(sounds),
            whole_number("batch_size", batch_size, 1),
            lambda sound: open_any(sound, sample_rate, rate),
            self._engine.pipeline,
            lambda opened, clock, window: self._explain(opened, clock, request, window)[0],
        )

    def _request(
        self,
        targets: Sequence[str],
        methods: Sequence[str] | None,
        rescore: bool,
        seed: int,
        options: Options | None,
    ) -> _Request:
        """Raises LabelError, MethodError, MissingDependencyError."""
        asked = _asked(self._methods(methods), options)
        indices = tuple(map(self._label_index, targets))
        return _Request(indices, asked, rescore, whole_number("seed", seed, 0))

    def _explain(
        self, opened: OpenSound, clock: Clock, request: _Request, window: Window | None = None
    ) -> list[Result]:
        """One result for each target; all windows are classified once, or of long sound twice."""
        manifest = self._engine.manifest
        windows = self._engine.pipeline.window_count(opened)
        scores, logits, kept, hidden = self._listen(opened, clock, window)
        predicted = int(scores.argmax())
        targets = request.targets or (predicted,)
        sound = Sound(
            samples=opened.samples,
            windows=windows,
            plan=self._engine.pipeline.plan(opened),
            input_rate=opened.input_rate,
            input_samples=opened.input_samples,
            input_channels=opened.input_channels,
            predicted=predicted,
        )
        parts_of = self._parts(opened, clock, request, sound, targets, kept)
        order = np.argsort(-scores, kind="stable")
        warnings = [*self._engine.sessions.warnings, *opened.warnings, *hidden]
        return [
            Result(
                input=opened.name,
                predictions=tuple((manifest.labels[k], float(scores[k])) for k in order),
                target=manifest.labels[target],
                logits=logits,
                sample_rate=opened.input_rate,
                channel_count=opened.input_channels,
                duration_s=opened.input_samples / opened.input_rate,
                windows=windows,
                device=self.device,
                bundle=manifest.name,
                bundle_id=manifest.bundle_id,
                seed=request.seed,
                timings=dict(clock.milliseconds),
                warnings=(*warnings, *(line for part in parts.values() for line in part.warnings)),
                parts=parts,
            )
            for target, parts in zip(targets, parts_of, strict=True)
        ]

    def _parts(
        self,
        opened: OpenSound,
        clock: Clock,
        request: _Request,
        sound: Sound,
        targets: Sequence[int],
        kept: Sequence[Window],
    ) -> list[dict[str, MethodResult]]:
        """What every method asked for says of the sound, for each target; it sees the windows once."""
        engine = self._engine

        def windows() -> Iterable[Window]:
            # A few windows were kept; those of long sound are made again, so that memory stays flat.
            return kept or engine.pipeline.windows(opened, clock)

        running: list[tuple[int, Method, Explanation]] = []
        for name, options in request.methods.items():
            context = Context(
                bundle=engine.bundle,
                run=engine.pipeline.runner(clock),
                run_graph=engine.sessions.run_graph,
                cache=engine.cache,
                clock=clock,
                opened=opened,
                windows=windows,
                logits_of=engine.pipeline.logits_of,
                rescore=request.rescore,
                seed=request.seed,
                options=options,
            )
            method = method_of(name)
            for index, target in enumerate(targets):
                running.append((index, method, method.begin(context, sound, target)))
        for window in windows() if running else ():
            for _, method, explanation in running:
                with _counted(clock, method):
                    explanation.add(window)
        parts: list[dict[str, MethodResult]] = [{} for _ in targets]
        for index, method, explanation in running:
            with _counted(clock, method):
                parts[index][method.name] = explanation.finish()
        return parts

    def _listen(
        self, opened: OpenSound, clock: Clock, window: Window | None
    ) -> tuple[FloatArray, FloatArray, list[Window], list[str]]:
        """First pass: scores [K] and mean logits [K] of the whole; its windows, where few; warnings."""
        manifest = self._engine.manifest
        total, logits = Aggregate(manifest.window.aggregate), Aggregate("mean")
        clearest = Clearest()
        few = self._engine.pipeline.window_count(opened) <= BATCH
        kept: list[Window] = []
        for one in [window] if window is not None else self._engine.pipeline.windows(opened, clock):
            scores = scores_of(one.logits, manifest.task)
            total.add([scores])
            clearest.add(scores, one.offset, one.channels.shape[-1])
            logits.add([one.logits])
            if few:
                kept.append(one)
        joined = total.value()
        hidden = clearest.hidden_by(joined, manifest.labels, manifest.sample_rate)
        return joined, logits.value(), kept, hidden

    def _methods(self, methods: Sequence[str] | None) -> list[str]:
        """The methods to run. Raises MethodError for what does not exist or the bundle lacks."""
        if methods is None:
            return self.methods
        if isinstance(methods, str):
            methods = [methods]
        if not isinstance(methods, Iterable):
            raise MethodError(f"methods is {methods!r}: give names, such as ['mask']")
        methods = list(methods)
        for name in methods:
            if not isinstance(name, str) or name not in METHODS:
                raise unknown("method", name, tuple(METHODS))
        return list(dict.fromkeys(methods))

    def _label_index(self, label: str) -> int:
        """Raises LabelError with the nearest labels."""
        labels = self._engine.manifest.labels
        if not isinstance(label, str):
            raise LabelError(f"target is {label!r}: give a label, such as {labels[0]!r}")
        if label in labels:
            return labels.index(label)
        near = difflib.get_close_matches(label, labels, n=3, cutoff=0.4)
        hint = (
            f"did you mean {', '.join(map(repr, near))}?"
            if near
            else f"it has {', '.join(labels[:10])}" + (", ..." if len(labels) > 10 else "")
        )
        raise LabelError(f"{self._engine.manifest.name}: no label {label!r}; {hint}")


def engine_of(explainer: Explainer) -> Engine:
    """The engine of an explainer: what evaluation, export and the commands ask below the public surface."""
    return explainer._engine


def _listed(target: str | None) -> list[str]:
    """The targets of one that may be left to the model."""
    return [] if target is None else [target]


def _counted(clock: Clock, method: Method) -> AbstractContextManager[None]:
    """Counting the time spent inside, for methods that do not do so themselves."""
    return nullcontext() if method.own_clock else clock.stage(method.name)


def _asked(methods: Sequence[str], options: Options | None) -> dict[str, MethodOptions]:
    """The methods that run, each with its options. Raises MethodError, MissingDependencyError."""
    given: Options = {} if options is None else options
    if not isinstance(given, Mapping):
        raise MethodError(f'options is {type(given).__name__}: give {{"segments": {{"calls": 100}}}}')
    for name, values in given.items():
        method_of(name)
        if name not in methods:
            raise MethodError(f"options were given for {name}, which does not run: add it to methods")
        if not isinstance(values, Mapping):
            raise MethodError(f"the options of {name} are {type(values).__name__}: give a mapping by name")
    asked = {name: method_of(name).options.of(given.get(name, {}), name) for name in methods}
    for one in asked.values():
        one.require()
    return asked
