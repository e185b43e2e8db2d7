"""`Engine`: one bundle open on one device, as evaluation, export and the commands use it, graph by graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from ..errors import MethodError
from .audio.sound import OpenSound
from .bundle.manifest import Manifest
from .bundle.open import Bundle
from .inference.devices import DeviceRequest
from .inference.pipeline import ModelPipeline, Precision
from .inference.session import Sessions
from .inference.threads import is_small, thread_count
from .inference.window import Clock, Window, Windowing
from .methods.loading import method_of
from .methods.protocol import Graphs
from .opening import open_bundle
from .values.arrays import FloatArray
from .values.workers import Workers


class Engine:
    """The graphs of one bundle on one device, below `Explainer`.

    Threads may share it; its sessions are created when first used, and again after a fork.

    Attributes:
        bundle: The open bundle.
        sessions: The ONNX Runtime sessions of its graphs.
        pipeline: Front end and classifier over the windows of a sound.
        cache: What methods keep as long as the engine lives; keys belong to the methods.
        workers: Threads for what can be done side by side.

    """

    def __init__(self, path: Path | str | Bundle, device: DeviceRequest | str = "auto") -> None:
        """Open the bundle in a folder, or an open one, on a device or as a request says.

        Raises BundleError where it is none, or damaged, DeviceError, MissingDependencyError.
        """
        self.bundle = path if isinstance(path, Bundle) else open_bundle(path)
        request = DeviceRequest.of(device) if isinstance(device, str) else device
        self.sessions = Sessions(self.bundle, request)
        self.pipeline = ModelPipeline(self.bundle, self.sessions)
        self.cache: dict[str, Any] = {}
        self.workers = Workers(thread_count())
        self._aside: ModelPipeline | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.bundle.manifest

    @property
    def device(self) -> str:
        """What runs: cpu, cuda:N, tensorrt, or the names of the providers that were asked for."""
        return self.sessions.device

    @property
    def aside(self) -> ModelPipeline | None:
        """Front end and classifier for a thread that works while others explain.

        On the CPU on one thread; None where there is no other, or the classifier is large: it takes most of
        the time, several threads well, and memory twice. On a GPU of NVIDIA those of large ones; a small one
        ends before another thread has Python's lock. Of other providers it is not known whether they take
        runs of several threads: None.
        """
        stage = self.manifest.stage("classifier")
        large = stage is not None and not is_small(self.bundle.path / stage.file)
        if self.device.startswith("cuda"):
            return self.pipeline if large else None
        if self.device != "cpu" or self.workers.count == 1 or large:
            return None
        if self._aside is None:
            self._aside = ModelPipeline(self.bundle, Sessions(self.bundle, self.sessions.request, threads=1))
        return self._aside

    def windows(self, opened: OpenSound, windowing: Windowing | None = None) -> Iterator[Window]:
        """Classify every window of a sound, in order; one batch of them is in memory.

        windowing: hop and level; None: as the bundle says
        Raises MethodError where the hop is longer than a window.
        """
        plan = self.pipeline.plan(opened, windowing or Windowing())
        return self.pipeline.windows(opened, Clock(), plan)

    def logits_of(self, waveforms: FloatArray, precision: Precision = "fp32") -> FloatArray:
        """Logits [B, K] of waveforms [B, N] as they are: at the model's rate and level, nothing is padded.

        precision: "int8" asks the quantised classifier
        Raises MethodError where the bundle has none, or hands a state from window to window.
        """
        if self.pipeline.state_size:
            raise MethodError(
                f"{self.manifest.name} hands its state from each window to the next, so a window alone "
                "cannot be asked about; export it with --state NAME=zeros for that"
            )
        return self.pipeline.logits_of(waveforms, precision)

    @property
    def graphs(self) -> Graphs:
        """What a method needs to be asked about one window; no time is counted."""
        return Graphs(self.bundle, self.sessions.run, self.sessions.run_graph, self.cache)

    def window_mask(self, method: str, window: Window, target: int) -> FloatArray:
        """A method's mask [T, F], 0..1, of one window; unlike `explain` it may be asked for any class.

        `Method.window_gain` says what it multiplies. Raises MethodError where the bundle lacks something.
        """
        return method_of(method).window_mask(self.graphs, window, target)

    def close(self) -> None:
        """Free sessions and cache; what is used next makes them again."""
        self.sessions.close()
        self.cache.clear()
        self.workers.close()
        self._aside = None
