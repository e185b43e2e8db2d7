"""`load` and `Explainer`: a sound goes in, an explanation comes out."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

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
    """What is asked about a sound, checked: target is a class index, None the one predicted."""

    target: int | None
    methods: Mapping[str, MethodOptions]
    rescore: bool
    seed: int


class Explainer:
    """Explains sounds with one bundle on one device.

    Shareable between threads; picklable, as path and device; sessions are created when first used,
    in the process that uses them, and again after a fork.
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
        """The classes, in the order of the logits."""
        return list(self._engine.manifest.labels)

    @property
    def methods(self) -> list[str]:
        """The explanation methods that run unless others are named; `segments` is there for any bundle."""
        # Older bundles of a bare graph name segments themselves.
        named = [name for name in self._engine.manifest.explainers if name in METHODS]
        return [name for name in named if not method_of(name).on_request]

    @property
    def device(self) -> str:
        """What runs: cpu, cuda:N or tensorrt."""
        return self._engine.device

    def close(self) -> None:
        """Free the sessions; the next explanation makes them again."""
        self._engine.close()

    def warm_up(self) -> None:
        """Create every session and run it once on silence, so that the first explanation is no slower."""
        wave = np.zeros(self._engine.pipeline.length, np.float32)
        self.explain((wave, self._engine.manifest.sample_rate), methods=self.methods)

    def explain(
        self,
        sound: Any,
        sample_rate: int | None = None,
        *,
        target: str | None = None,
        methods: Sequence[str] | None = None,
        rescore: bool = False,
        seed: int = 0,
        options: Options | None = None,
    ) -> Result:
        """Explain one sound.

        sound: path, binary file object, (waveform, sample_rate), or a waveform [samples] or
            [channels, samples] with `sample_rate` in Hz
        target: the label to explain; None: the one predicted
        methods: names out of `self.methods`, or segments; None: all of `self.methods`; []: predictions
            alone
        rescore: let the classifier hear what was kept and removed (up to four more passes)
        options: settings of single methods, as {"segments": {"calls": 100}}
            for segments the fields of `SegmentSettings`, and progress(done, budget); for components the
            threshold of relevance
        Raises AudioError, LabelError, TargetError, MethodError (also for an option that does not exist, or of
        a method that does not run), MissingDependencyError, BundleError.
        """
        request = self._request(target, methods, rescore, seed, options)
        clock = Clock()
        with clock.stage("read"):
            opened = open_any(sound, sample_rate, self._engine.manifest.sample_rate)
        return self._explain(opened, clock, request)

    def explain_many(
        self, sounds: Iterable[Any], *, batch_size: int = 8, **options: Any
    ) -> Iterator[Result | Failure]:
        """Explain sounds in order, in bounded memory; what fails becomes a `Failure`.

        Sounds of one window and equal length share their pass through the classifier, up to
        `batch_size` at a time. `options` as for `explain`; labels, methods and options that do not exist
        raise at once. Whatever one sound raises is its own answer, also where `sounds` raises in its place.
        """
        if isinstance(sounds, (str, bytes, os.PathLike)):
            raise TypeError("explain_many() takes several sounds: give a list, or use explain()")
        for name in options:
            if name not in _MANY:
                near = difflib.get_close_matches(name, _MANY, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(_MANY)}"
                raise TypeError(f"explain_many() has no option {name!r}; {hint}")
        request = self._request(
            options.get("target"),
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
            lambda opened, clock, window: self._explain(opened, clock, request, window),
        )

    def _request(
        self,
        target: str | None,
        methods: Sequence[str] | None,
        rescore: bool,
        seed: int,
        options: Options | None,
    ) -> _Request:
        """Raises LabelError, MethodError, MissingDependencyError."""
        asked = _asked(self._methods(methods), options)
        goal = None if target is None else self._label_index(target)
        return _Request(goal, asked, rescore, whole_number("seed", seed, 0))

    def _explain(
        self, opened: OpenSound, clock: Clock, request: _Request, window: Window | None = None
    ) -> Result:
        manifest = self._engine.manifest
        windows = self._engine.pipeline.window_count(opened)
        scores, logits, kept, hidden = self._listen(opened, clock, window)
        predicted = int(scores.argmax())
        target = predicted if request.target is None else request.target
        sound = Sound(
            samples=opened.samples,
            windows=windows,
            plan=self._engine.pipeline.plan(opened),
            input_rate=opened.input_rate,
            input_samples=opened.input_samples,
            input_channels=opened.input_channels,
            predicted=predicted,
        )
        parts = self._parts(opened, clock, request, sound, target, kept)
        order = np.argsort(-scores, kind="stable")
        warnings = [*self._engine.sessions.warnings, *opened.warnings, *hidden]
        for part in parts.values():
            warnings += part.warnings
        return Result(
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
            warnings=tuple(warnings),
            parts=parts,
        )

    def _parts(
        self,
        opened: OpenSound,
        clock: Clock,
        request: _Request,
        sound: Sound,
        target: int,
        kept: Sequence[Window],
    ) -> dict[str, MethodResult]:
        """What every method asked for says of the sound, whose windows it sees once."""
        engine = self._engine

        def windows() -> Iterable[Window]:
            # A few windows were kept; those of long sound are made again, so that memory stays flat.
            return kept or engine.pipeline.windows(opened, clock)

        running: list[tuple[Method, Explanation]] = []
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
            running.append((method, method.begin(context, sound, target)))
        for window in windows() if running else ():
            for method, explanation in running:
                with _counted(clock, method):
                    explanation.add(window)
        parts: dict[str, MethodResult] = {}
        for method, explanation in running:
            with _counted(clock, method):
                parts[method.name] = explanation.finish()
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
