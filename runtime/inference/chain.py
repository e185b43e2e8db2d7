"""The chain front end -> classifier, over whatever runs a stage by name.

A bundle's sessions run stages, and so do the graphs in a folder while a bundle is made of them: `explain`,
`verify`, parity and quantisation all go through here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, TypeVar

import numpy as np

from ..audio.stft import as_complex, as_pairs, forward
from ..bundle.manifest import NEXT_STATE, STATE, AnalysisSpec, StageSpec
from ..values.arrays import FloatArray
from ..values.lazy import LazyMapping, lazy_property
from .failures import DeviceMemoryError
from .session import Tensors
from .tensors import DeviceTensor, Feeds, Tensor, on_host

Classifier = Literal["classifier", "classifier_int8"]
Answer = TypeVar("Answer")


class RunStage(Protocol):
    """Runs a stage by name: feeds by name -> outputs (all, or those named) by name."""

    def __call__(self, stage: str, feeds: Feeds, outputs: Sequence[str] | None = None) -> Tensors:
        """Run it."""


class KeepStage(Protocol):
    """Runs a stage by name, and leaves its outputs where the next stage can take them."""

    def __call__(
        self, stage: str, feeds: Feeds, outputs: Sequence[str] | None = None
    ) -> Mapping[str, Tensor]:
        """Run it."""


@dataclass(frozen=True)
class ForwardPass:
    """What front end and classifier give for a batch; on a device what nobody looks at is not copied.

    waveforms: [B, N] at the model's rate and level
    entry: what the classifier gets: the listenable STFT [B, T, F, 2], or features of the model's own
    logits: [B, K]
    outputs: name -> feature map [B, ...]
    state, next_state: [B, S] what a recurrent classifier begins with, and what it leaves to the next window;
        None where each sound begins anew
    """

    waveforms: FloatArray
    entry: Tensor
    logits: FloatArray
    outputs: Mapping[str, Tensor]
    analysis: AnalysisSpec
    spectral: bool
    state: FloatArray | None = None
    next_state: FloatArray | None = None
    _further: dict[tuple[object, ...], Tensors | None] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def features(self) -> FloatArray:
        """What the classifier gets, on the host."""
        return on_host(self.entry)

    @lazy_property
    def predicted(self) -> list[int]:
        """The index of the largest logit of each sound."""
        indices: list[int] = self.logits.argmax(axis=1).tolist()
        return indices

    @lazy_property
    def taps(self) -> Mapping[str, FloatArray]:
        """Name -> feature map [B, ...], on the host."""
        # Refers to the outputs alone: a reference to itself would keep all of it until the collector comes.
        outputs = self.outputs
        return LazyMapping(outputs, lambda name: on_host(outputs[name]))

    @property
    def spectrum_shape(self) -> tuple[int, ...]:
        """The dims of `stft`."""
        return self.entry.shape if self.spectral else self.stft.shape

    @lazy_property
    def stft(self) -> FloatArray:
        """The listenable STFT [B, T, F, 2] of the waveforms."""
        return self.features if self.spectral else as_pairs(forward(self.waveforms, self.analysis))

    @lazy_property
    def amplitude(self) -> FloatArray:
        """Its magnitudes [B, T, F]."""
        amplitude: FloatArray = np.abs(as_complex(self.stft))
        return amplitude

    def feeds(
        self, stage: StageSpec, targets: Sequence[int] | None = None, *, with_stft: bool = False
    ) -> Feeds:
        """What a further stage takes, by name: taps, "logits", "stft", "target" (None: what is predicted)."""
        names = dict.fromkeys([tensor.name for tensor in stage.inputs] + ["stft"] * with_stft)
        tensors: dict[str, Tensor] = {**self.outputs, "logits": self.logits}
        if "stft" in names:
            tensors["stft"] = self.entry if self.spectral else self.stft
        if "target" in names:
            chosen = self.predicted if targets is None else targets
            tensors["target"] = np.asarray(chosen, np.int64)
        return {name: tensors[name] for name in names}

    def further(
        self, run: RunStage, stage: StageSpec, outputs: Sequence[str], row: int, target: int
    ) -> Tensors:
        """What a stage behind the classifier gives for one row of the batch: outputs [1, ...] by name.

        The whole batch is asked about at once: each row for the class that was predicted there where `target`
        was predicted here, else all for `target`. Of the decoder "kept" may be asked for as
        well, see `FourierStages`.
        """
        sound = "kept" in outputs
        rows = slice(row, row + 1)
        batch = len(self.logits)
        if batch > 1:
            targets = self.predicted if self.predicted[row] == target else [target] * batch
            key = (stage.name, *outputs, *targets)
            if key not in self._further:
                try:
                    self._further[key] = run(stage.name, self.feeds(stage, targets, with_stft=sound), outputs)
                except DeviceMemoryError:
                    # One row may still do; all of them are not tried again.
                    self._further[key] = None
            together = self._further[key]
            if together is not None:
                return {name: array[rows] for name, array in together.items()}
        given = self.feeds(stage, [target] * batch, with_stft=sound)
        alone = given if batch == 1 else {name: on_host(tensor)[rows] for name, tensor in given.items()}
        return run(stage.name, alone, outputs)


class Chain:
    """Front end and classifier of one model.

    run: runs a stage by name; keep: likewise, and leaves its outputs on the device; None: `run`
    rescore: "spectrogram" where the classifier takes the listenable STFT, "waveform": it takes other features
    taps: the feature maps that the classifier is asked for; None: all that it has
    """

    def __init__(
        self,
        run: RunStage,
        analysis: AnalysisSpec,
        rescore: Literal["spectrogram", "waveform"],
        keep: KeepStage | None = None,
        taps: Sequence[str] | None = None,
    ) -> None:
        self._run, self._analysis, self._taps = run, analysis, taps
        self._keep: KeepStage = keep or run
        self._spectral = rescore == "spectrogram"
        self._entry = "stft" if self._spectral else "features"

    def features(self, waveforms: FloatArray) -> FloatArray:
        """Waveforms [B, N] -> what the classifier gets, by the front end."""
        return self._run("frontend", {"waveform": waveforms})[self._entry]

    def forward(
        self,
        waveforms: FloatArray,
        classifier: Classifier = "classifier",
        state: FloatArray | None = None,
    ) -> ForwardPass:
        """Waveforms [B, N] -> logits, the taps asked for and there, and what they come from.

        state: [B, S] what a recurrent classifier begins with; None: as at the beginning of a sound
        """
        entry = self._keep("frontend", {"waveform": waveforms})[self._entry]
        # The quantised one has none.
        asked = None if self._taps is None or classifier != "classifier" else ["logits", *self._taps]
        given: dict[str, Tensor] = {self._entry: entry}
        if state is not None:
            given[STATE] = state
            asked = None if asked is None else [*asked, NEXT_STATE]
        taps = dict(self._keep(classifier, given, asked))
        logits, left = on_host(taps.pop("logits")), taps.pop(NEXT_STATE, None)
        following = None if left is None else on_host(left)
        return ForwardPass(waveforms, entry, logits, taps, self._analysis, self._spectral, state, following)

    def in_turn(
        self, waveforms: FloatArray, state: FloatArray, classifier: Classifier = "classifier"
    ) -> Iterator[ForwardPass]:
        """Waveforms [B, N] in turn, the first from a state [1, S], each other from what the last one left."""
        following: FloatArray | None = state
        for wave in waveforms:
            answer = self.forward(wave[np.newaxis], classifier, following)
            following = answer.next_state
            yield answer

    def forward_parts(
        self, waveforms: FloatArray, classifier: Classifier = "classifier"
    ) -> list[ForwardPass]:
        """`forward`, in as many parts as the device's memory asks for."""
        return _in_parts(partial(self.forward, classifier=classifier), waveforms)

    def logits(
        self, features: Tensor, classifier: Classifier = "classifier", state: FloatArray | None = None
    ) -> FloatArray:
        """What the front end gives, masked or not -> logits [B, K].

        state: [1, S] what a recurrent classifier begins each with; None: as at the beginning of a sound
        """

        def run(part: Tensor) -> FloatArray:
            given: dict[str, Tensor] = {self._entry: part}
            if state is not None:
                given[STATE] = np.repeat(state, part.shape[0], axis=0)
            return self._run(classifier, given, ["logits"])["logits"]

        return (
            run(features) if isinstance(features, DeviceTensor) else np.concatenate(_in_parts(run, features))
        )

    def logits_of(
        self,
        waveforms: FloatArray,
        classifier: Classifier = "classifier",
        state: FloatArray | None = None,
    ) -> FloatArray:
        """Waveforms [B, N] -> logits [B, K]; state: as of `logits`."""

        def run(part: FloatArray) -> FloatArray:
            return self.logits(self._keep("frontend", {"waveform": part})[self._entry], classifier, state)

        return np.concatenate(_in_parts(run, waveforms))


def _in_parts(run: Callable[[FloatArray], Answer], batch: FloatArray) -> list[Answer]:
    """What `run` answers to a batch, or to its halves where the device has too little memory for it."""
    try:
        return [run(batch)]
    except DeviceMemoryError:
        if len(batch) < 2:
            raise
    half = len(batch) // 2
    return [*_in_parts(run, batch[:half]), *_in_parts(run, batch[half:])]
