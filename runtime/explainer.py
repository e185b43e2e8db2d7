"""`load` and `Explainer`: a sound goes in, an explanation comes out."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
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
from .methods.protocol import Account, Answer, Context, Method, Sound, unknown
from .results import Result

# Every explanation method, and where its class lies: a new one is one file and one line.
METHODS = {
    "mask": ".methods.mask.method:Mask",
    "prototypes": ".methods.prototypes.method:Prototypes",
    "components": ".methods.components.method:Components",
    # Needs scores alone, so every bundle has it; it costs many passes and runs when asked for.
    "segments": ".methods.segments.method:Segments",
}
# The method that never runs unless named.
ASKED = "segments"
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
        return [name for name in self._engine.manifest.explainers if name in METHODS and name != ASKED]

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
        asked = self._methods(methods)
        settings = _checked(options, asked)
        goal = None if target is None else self._label_index(target)
        clock = Clock()
        with clock.stage("read"):
            opened = open_any(sound, sample_rate, self._engine.manifest.sample_rate)
        return self._explain(opened, clock, goal, asked, (rescore, seed, settings))

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
        asked = self._methods(options.get("methods"))
        settings = _checked(options.get("options"), asked)
        target = options.get("target")
        goal = None if target is None else self._label_index(target)
        how = (bool(options.get("rescore", False)), int(options.get("seed", 0)), settings)
        sample_rate, rate = options.get("sample_rate"), self._engine.manifest.sample_rate
        return explained(
            iter(sounds),
            max(1, batch_size),
            lambda sound: open_any(sound, sample_rate, rate),
            self._engine.pipeline,
            lambda opened, clock, heard: self._explain(opened, clock, goal, asked, how, heard),
        )

    def _explain(
        self,
        opened: OpenSound,
        clock: Clock,
        goal: int | None,
        asked: list[str],
        how: tuple[bool, int, Options],
        heard: Window | None = None,
    ) -> Result:
        manifest = self._engine.manifest
        windows = self._engine.pipeline.window_count(opened)
        scores, logits, kept, hidden = self._listen(opened, clock, heard)
        predicted = int(scores.argmax())
        target = predicted if goal is None else goal
        sound = Sound(
            samples=opened.samples,
            windows=windows,
            input_rate=opened.input_rate,
            input_samples=opened.input_samples,
            input_channels=opened.input_channels,
            predicted=predicted,
        )
        answers = self._answers(opened, clock, asked, sound, target, kept, how)
        order = np.argsort(-scores, kind="stable")
        warnings = [*self._engine.sessions.warnings, *opened.warnings, *hidden]
        fields: dict[str, Any] = {}
        for answer in answers:
            fields.update(answer.fields)
            warnings += answer.warnings
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
            seed=how[1],
            timings=dict(clock.milliseconds),
            warnings=tuple(warnings),
            **fields,
        )

    def _answers(
        self,
        opened: OpenSound,
        clock: Clock,
        asked: Sequence[str],
        sound: Sound,
        target: int,
        kept: Sequence[Window],
        how: tuple[bool, int, Options],
    ) -> list[Answer]:
        """What every method asked for says of the sound, heard once more where its windows were not kept."""
        rescore, seed, options = how
        accounts: list[tuple[str | None, Account]] = []
        for name in asked:
            method = _method(name)
            context = Context(
                bundle=self._engine.bundle,
                run=self._engine.pipeline.runner(clock),
                run_graph=self._engine.sessions.run_graph,
                clock=clock,
                opened=opened,
                windows=lambda: kept or self._engine.pipeline.windows(opened, clock),
                logits_of=self._engine.pipeline.logits_of,
                rescore=rescore,
                seed=seed,
                options=options.get(name, {}),
                cache=self._engine.cache,
            )
            accounts.append((method.stage, method.of(context).begin(sound, target)))
        if accounts:
            # A few windows were kept; long sound is heard again, so that memory stays flat.
            for one in kept or self._engine.pipeline.windows(opened, clock):
                for stage, account in accounts:
                    with _counted(clock, stage):
                        account.add(one)
        answers: list[Answer] = []
        for stage, account in accounts:
            with _counted(clock, stage):
                answers.append(account.finish())
        return answers

    def _listen(
        self, opened: OpenSound, clock: Clock, heard: Window | None
    ) -> tuple[FloatArray, FloatArray, list[Window], list[str]]:
        """First pass: scores [K] and mean logits [K] of the whole; its windows, where few; warnings."""
        manifest = self._engine.manifest
        total, logits = Aggregate(manifest.window.aggregate), Aggregate("mean")
        clearest = Clearest()
        few = self._engine.pipeline.window_count(opened) <= BATCH
        kept: list[Window] = []
        for one in [heard] if heard is not None else self._engine.pipeline.windows(opened, clock):
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
        for name in methods:
            if name not in METHODS:
                raise unknown("method", name, tuple(METHODS))
        return list(dict.fromkeys(methods))

    def _label_index(self, label: str) -> int:
        """Raises LabelError with the nearest labels."""
        labels = self._engine.manifest.labels
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


def _counted(clock: Clock, stage: str | None) -> AbstractContextManager[None]:
    """Counting the time spent inside, for methods that do not do so themselves."""
    return nullcontext() if stage is None else clock.stage(stage)


def _checked(options: Options | None, asked: Sequence[str]) -> Options:
    """The options of the methods that run. Raises MethodError, MissingDependencyError."""
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise MethodError(f'options is {type(options).__name__}: give {{"segments": {{"calls": 100}}}}')
    for name, given in options.items():
        if name not in METHODS:
            raise unknown("method", name, tuple(METHODS))
        if name not in asked:
            raise MethodError(f"options were given for {name}, which does not run: add it to methods")
        if not isinstance(given, Mapping):
            raise MethodError(f"the options of {name} are {type(given).__name__}: give a mapping by name")
        _method(name).check(given)
    return options


def _method(name: str) -> type[Method]:
    module, _, attribute = METHODS[name].partition(":")
    found: type[Method] = getattr(import_module(module, __package__), attribute)
    return found
