"""`load` and `Explainer`: a sound goes in, an explanation comes out.

Most of its lines are the reference of the one class that programs use, which is read in one place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import numpy as np

from .audio.sound import open_sound
from .bundle.manifest import Aggregation, LevelOver
from .bundle.open import Bundle
from .engine import Engine
from .explaining.batch import Failure, name_of, open_any
from .explaining.explanation import explain
from .explaining.many import explain_many
from .explaining.request import (
    ExplainOptions,
    Options,
    method_names,
    refuse_unknown,
    request_of,
    targets_of,
)
from .inference.deadline import Cancel
from .inference.devices import DeviceRequest, Providers
from .inference.window import Clock
from .methods.options import whole_number
from .observing import telling_errors
from .results.result import Result

if TYPE_CHECKING:
    from .detections.detections import Detections
    from .detections.recording import OnDetection, Progress
    from .detections.settings import StreamOptions, Thresholds
    from .detections.stream import Stream
    from .document import Kind
    from .inference.pipeline import Precision

# What `detect` takes by name beside what a stream does, and all that `explain_many` does.
_DETECT = ("sample_rate", "name", "on_detection", "progress", "timeout_s", "cancel")
_MANY = ("sample_rate", "batch_size", "target", "targets", *ExplainOptions.__annotations__)
SHIPPED = Path(__file__).resolve().parent / "shipped" / "bundle"


def bundle_path(path: Path | str | None = None) -> Path:
    """The bundle meant by `path`: itself, else EARMARK_BUNDLE, else the shipped one."""
    return Path(path or os.environ.get("EARMARK_BUNDLE") or SHIPPED)


def load(
    path: Path | str | None = None,
    device: str = "auto",
    *,
    providers: Providers | None = None,
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
            preference, such as OpenVINO's, CoreML's, DirectML's, ROCm's or QNN's: names ("openvino" is short
            for "OpenVINOExecutionProvider"), pairs of a name and its options, or a mapping of them. All
            must be active in every session. Operators of the graphs that the first cannot run fall to the
            CPU, with a warning in the result; with "cpu" among them also graphs that it cannot open.
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
        providers: Providers | None = None,
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
        return method_names(self._engine, None)

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
        name: str | None = None,
        target: str | None = None,
        targets: None = None,
        **how: Unpack[ExplainOptions],
    ) -> Result: ...

    @overload
    def explain(
        self,
        sound: Any,
        sample_rate: int | None = None,
        *,
        name: str | None = None,
        targets: Sequence[str],
        **how: Unpack[ExplainOptions],
    ) -> list[Result]: ...

    def explain(
        self,
        sound: Any,
        sample_rate: int | None = None,
        *,
        name: str | None = None,
        target: str | None = None,
        targets: Sequence[str] | None = None,
        methods: Sequence[str] | None = None,
        rescore: bool = False,
        seed: int = 0,
        options: Options | None = None,
        hop_s: float | None = None,
        aggregate: Aggregation | None = None,
        level: LevelOver | None = None,
        timeout_s: float | None = None,
        cancel: Cancel | None = None,
    ) -> Result | list[Result]:
        """Explain one sound.

        A long sound is classified once: its windows are kept up to 128 MiB, and those beyond are classified
        again when methods look at them.

        Args:
            sound: A path, a binary file object, a pair (waveform, sample_rate), these two and
                a name, or a waveform [samples] or
                [channels, samples] in -1..1 with `sample_rate`.
            sample_rate: Of a bare waveform, in Hz.
            name: What the sound is called in the answer; None: its path, or "the array".
            target: The label to explain; None: the one predicted.
            targets: In its place several labels: the sound is read and classified once for all of them.
            methods: Names out of `self.methods`, or "segments"; None: all of `self.methods`, of which one
                that cannot answer for a target is left out with a warning; []: predictions alone.
            rescore: Also give the scores of what was kept and of what was removed: up to four more passes.
            seed: Of everything that is drawn at random, 0 or more.
            options: Settings of single methods by name, such as {"segments": {"calls": 100}}: for segments
                the fields of `SegmentSettings`, and progress(done, budget); for components `threshold`, the
                least relevance that is selected, 0..1.
            hop_s: Seconds from one window of a long sound to the next, up to a window's length, which is no
                overlap and takes half of the time that half overlap takes; None: as the bundle says.
            aggregate: How scores of windows become those of the sound: "mean", "max", or "lme", the
                log-mean-exp with sharpness 5; None: as the bundle says.
            level: Over what the gain of the model's own pipeline is measured: each "window", the whole
                "recording" (quiet windows stay quiet), or "none"; None: as the bundle says.
            timeout_s: Seconds after which the answer ends as it is then; looked at between windows and
                between rounds of questions, so that at least one batch of windows is classified.
            cancel: Asked at the same moments; True ends the answer.

        Returns:
            The explanation; with `targets` a list of them, in their order. Timings then are of all together.
            One that ended early has `partial` set, and a warning says what is missing.

        Raises:
            AudioError: The sound cannot be read, is empty, or is not finite.
            LabelError: A target is none of the bundle's labels.
            TargetError: A method that was named cannot answer for a target: the bundle's decoder speaks for
                the predicted class alone.
            MethodError: A method or an option of one does not exist, the bundle lacks what a method needs,
                options are given of a method that does not run, or another argument is out of range.
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
        how = ExplainOptions(
            methods=methods,
            rescore=rescore,
            seed=seed,
            options=options,
            hop_s=hop_s,
            aggregate=aggregate,
            level=level,
            timeout_s=timeout_s,
            cancel=cancel,
        )
        request = request_of(self._engine, targets_of(target, targets), how)
        if targets is not None and not targets:
            return []
        clock, deadline = Clock(), request.deadline()
        with self._telling("result", sound, name):
            with clock.stage("read"):
                rate = self._engine.manifest.sample_rate
                opened = open_any(partial(open_sound, sound, sample_rate, rate, deadline), sound, name)
            results = explain(self._engine, opened, clock, request, deadline)
        return results[0] if targets is None else results

    def explain_many(
        self,
        sounds: Iterable[Any],
        sample_rate: int | None = None,
        *,
        batch_size: int = 8,
        target: str | None = None,
        targets: Sequence[str] | None = None,
        **how: Unpack[ExplainOptions],
    ) -> Iterator[Result | Failure]:
        """Explain sounds in order, in bounded memory; what fails becomes a `Failure`.

        Sounds of one window and equal length share their pass through the classifier. Whatever one sound
        raises is its own answer, also where `sounds` raises in its place.

        Args:
            sounds: Paths, binary file objects, (waveform, sample_rate) or (waveform, sample_rate, name), or,
                with `sample_rate`, waveforms; drawn when needed.
            sample_rate: Of bare waveforms, in Hz.
            batch_size: Sounds that are open at a time, 1 or more; twice as many, at least 4, where a thread
                classifies some while those before them are explained: of lists, on the CPU by small
                classifiers, on GPUs of NVIDIA by large ones.
            target: The label to explain; None: the one predicted.
            targets: In its place several labels: each sound is read and classified once for all of them.
            **how: The other arguments of `explain`; `timeout_s` counts for each sound.

        Returns:
            An iterator over the answers, one for each sound, with `targets` one for each sound and target;
            `.ok` tells a `Result` from a `Failure`, of which there is one for a sound.

        Raises:
            TypeError: An option that does not exist, or a single path.
            LabelError: A target is none of the bundle's labels.
            MethodError: A method or an option of one does not exist, or cannot run here.
            MissingDependencyError: A method needs a package that is not installed.

        Examples:
            >>> for answer in explainer.explain_many(["a.wav", "b.wav"], methods=["mask"]):  # doctest: +SKIP
            ...     print(answer.input, answer.target if answer.ok else answer.error)

        """
        if isinstance(sounds, (str, bytes, os.PathLike)):
            raise TypeError("explain_many() takes several sounds: give a list, or use explain()")
        refuse_unknown("explain_many", how, _MANY)
        request = request_of(self._engine, targets_of(target, targets), how)
        whole_number("batch_size", batch_size, 1)
        if targets is not None and not targets:
            return iter(())
        return explain_many(self._engine, request, sounds, sample_rate, batch_size)

    def detect(
        self,
        sound: Any,
        sample_rate: int | None = None,
        *,
        name: str | None = None,
        min_score: Thresholds | str | Path = 0.5,
        leave_score: Thresholds | None = None,
        labels: Sequence[str] | None = None,
        smooth_s: float = 0.0,
        merge_gap_s: float = 0.0,
        min_s: float = 0.0,
        top_per_window: int | None = None,
        sensitivity: float = 1.0,
        temperature: float = 1.0,
        precision: Precision = "fp32",
        on_detection: OnDetection | None = None,
        progress: Progress | None = None,
        **how: Unpack[ExplainOptions],
    ) -> Detections:
        """Find where labels occur in a recording, and explain each detection for its own label.

        Every window is classified once; only what is detected is explained. A detection is a run of windows
        that score at least `leave_score`, one of them at least `min_score`. The border between two windows
        that overlap is the middle of what they share. What is explained is the sound of its windows, as
        `explain` does with `target` set to its label; of more than a minute the time around the peak.

        Args:
            sound: As for `explain`; memory does not grow with its length.
            sample_rate: Of a bare waveform, in Hz.
            name: What the recording is called in the answer and in the ids of detections; None: its path.
            min_score: Score 0..1 that a detection reaches: a number; a mapping from labels to numbers, where
                "*" stands for labels that it does not name (else 0.5); or a file of `read_thresholds`.
            leave_score: Score 0..1 that all its windows reach, given likewise; None: what the file says, or
                three quarters of `min_score`.
            labels: Labels to be detected, such as a species list of `read_labels`; None: all. Here and in
                thresholds either half of a label `Scientific_Common` will do, if no other label has it.
            smooth_s: Thresholds are asked of means of scores, over the windows whose middles are at most half
                of so many seconds away, 0 to 60; 0: of the scores themselves.
            merge_gap_s: Detections of one label at most so many seconds apart become one.
            min_s: Shorter detections are left out, after that.
            top_per_window: Only so many labels of a window count, the best ones; None: all.
            sensitivity: Moves the logits of multi-label models by 10 (sensitivity - 1) before the sigmoid, as
                BirdNET-Analyzer does, 0.5 to 1.5: above 1 more is detected.
            temperature: What logits are divided by before sigmoid or softmax, above 0. Both change the
                scores of detections and windows, not those in explanations.
            precision: Which classifier detects: "fp32", or "int8" where the bundle has one (`earmark export
                --int8`), which is quicker. Detections are explained in fp32.
            on_detection: Called with each detection and its sound (`samples` [channels, n], `start_s`,
                `end_s`) as soon as it has ended. What is returned then holds no explanations, so that memory
                does not grow with their number either.
            progress: Called with the seconds that are classified and those there are.
            **how: The other arguments of `explain`, without `target`. `methods` is what explains detections,
                [] nothing. With `timeout_s` or `cancel` the answer covers what was classified until then.

        Returns:
            The detections, in the order of their begin, and the scores of all windows.

        Raises:
            AudioError: The sound cannot be read, is empty, or is not finite.
            LabelError: A label does not exist; the message names the nearest.
            SettingsError: A threshold lies outside 0..1, or another setting is out of range.
            MethodError: A method or an option of one does not exist, or cannot run here.
            DeviceError: What was asked for in `load` is not active.
            MissingDependencyError: A method needs a package that is not installed.
            BundleError: The bundle is damaged.

        Examples:
            >>> import numpy as np
            >>> noise = np.random.default_rng(0).normal(size=64_000).astype("float32") * 0.1
            >>> with earmark.load(device="cpu") as explainer:
            ...     detections = explainer.detect(noise, 16_000, min_score={"bell": 0.9}, labels=["bell"])
            >>> len(detections), detections.summary[:16]
            (0, 'nothing detected')

        """
        from .audio.recorded import recorded_at
        from .detections.recording import detect, open_recording
        from .detections.settings import DetectOptions, StreamOptions, settled

        refuse_unknown("detect", how, (*StreamOptions.__annotations__, *_DETECT))
        settings, request = settled(
            self._engine,
            DetectOptions(
                min_score=min_score,
                leave_score=leave_score,
                labels=labels,
                smooth_s=smooth_s,
                merge_gap_s=merge_gap_s,
                min_s=min_s,
                top_per_window=top_per_window,
                sensitivity=sensitivity,
                temperature=temperature,
                precision=precision,
            ),
            how,
        )
        clock, deadline = Clock(), request.deadline()
        with self._telling("detections", sound, name):
            with clock.stage("read"):
                recording = open_recording(self._engine, request, deadline, sound, sample_rate, name)
            return detect(
                self._engine,
                recording,
                clock,
                deadline,
                settings,
                request,
                recorded_at=recorded_at(sound) if isinstance(sound, (str, os.PathLike)) else None,
                on_detection=on_detection,
                progress=progress,
            )

    def stream(
        self, sample_rate: int, channels: int = 1, *, name: str = "the stream", **asked: Unpack[StreamOptions]
    ) -> Stream:
        """Detect in sound that arrives piece by piece.

        Args:
            sample_rate: Of the samples that will be pushed, in Hz.
            channels: Of them.
            name: What the ids of detections are made of, and `Result.input` of their explanations.
            **asked: The other arguments of `detect`, without `on_detection`, `progress`, `timeout_s` and
                `cancel`.

        Returns:
            The stream: `push(samples)` and `finish()` give windows and detections.

        Raises:
            AudioError: There is no such rate or number of channels.
            TypeError: An option that does not exist.
            LabelError: A label does not exist; the message names the nearest.
            SettingsError: A threshold lies outside 0..1, another setting is out of range, or the level is
                that of the recording, which a stream does not know.
            MethodError: A method or an option of one does not exist, or cannot run here.
            MissingDependencyError: A method needs a package that is not installed.

        Examples:
            >>> with earmark.load(device="cpu") as explainer:
            ...     stream = explainer.stream(48_000, channels=2, min_score=0.7, methods=["mask"])
            >>> stream.seconds
            0.0

        """
        from .detections.settings import StreamOptions, parted, settled
        from .detections.stream import Stream

        refuse_unknown("stream", asked, StreamOptions.__annotations__)
        settings, request = settled(self._engine, *parted(asked))
        return Stream(self._engine, settings, request, sample_rate, channels, name)

    def _telling(self, kind: Kind, sound: object, name: str | None) -> AbstractContextManager[None]:
        """Tells observers of an error in the block."""
        engine = self._engine
        return telling_errors(kind, name or name_of(sound), engine.manifest.name, engine.device)


def engine_of(explainer: Explainer) -> Engine:
    """The engine of an explainer: what evaluation, export and the commands ask below the public surface."""
    return explainer._engine
