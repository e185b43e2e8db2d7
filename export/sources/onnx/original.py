"""A graph as it comes, in onnxruntime: what the bundle made of it is measured against. Never torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ....errors import MissingDependencyError, SourceError
from ....printable import first_line
from ....runtime.bundle.graphs import external_tensors
from ....runtime.inference.onnx_runtime import cpu_session
from ....runtime.values.arrays import FloatArray
from ...frontends.frontend import Frontend
from .entry import Entry
from .outputs import ScoreOutput
from .side_inputs import SideInput


def opened(model: onnx.ModelProto, path: Path) -> Any:
    """The session of a graph, as `read_model` gives it. Raises SourceError where it cannot be run."""
    try:
        weights = path.parent.resolve() if any(external_tensors(model, path)) else None
        return cpu_session(model.SerializeToString(), weights)
    except MissingDependencyError:
        raise
    except Exception as error:
        # onnxruntime's errors have no common base.
        raise SourceError(f"{path}: onnxruntime cannot run it ({first_line(error)})") from error


class Original:
    """The file itself in onnxruntime on the CPU: the reference that the bundle is measured against.

    entry: how the sound gets into it; sides: what its other inputs are filled with
    output: where its scores are, once they are known
    context: samples of the sound before that it takes in front of a window; before a sound there are zeros
    """

    def __init__(
        self,
        path: Path,
        model: onnx.ModelProto,
        entry: Entry[Frontend],
        sides: Sequence[SideInput] = (),
        context: int = 0,
    ) -> None:
        """Open the graph, as `read_model` gives it. Raises SourceError where onnxruntime cannot run it."""
        self.path, self.entry, self.sides, self.context = path, entry, tuple(sides), context
        self._model = model
        self._opened: Any = None
        self.output = ScoreOutput("")
        _ = self._session

    @property
    def _session(self) -> Any:
        """The session; opened again where it was closed."""
        if self._opened is None:
            self._opened = opened(self._model, self.path)
        return self._opened

    def rest(self) -> None:
        """Close the session, whose weights may be as large as those of the bundle, until the next answer."""
        self._opened = None

    def run(self, sound: FloatArray, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Every output (or those named) for one sound [N]. Raises SourceError where it fails.

        Rows of one sound are run one by one, and their outputs joined as their scores are.
        """
        return self.run_fed(self.entry.front.rows(sound), len(sound), outputs)

    def run_fed(self, fed: np.ndarray, samples: int, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """The same for what `entry` feeds for a sound of so many samples."""
        names = list(outputs) if outputs else [value.name for value in self._session.get_outputs()]
        join = self.entry.front.join
        rows = [fed] if join is None else list(fed[:, None])
        try:
            answers = [self._session.run(names, self.inputs(row)) for row in rows]
        except Exception as error:
            raise SourceError(f"{self.path}: fails on {samples} samples ({first_line(error)})") from error
        if join is None:
            return dict(zip(names, answers[0], strict=True))
        how = np.mean if join == "mean" else np.max
        return {name: how(each, axis=0) for name, each in zip(names, zip(*answers, strict=True), strict=True)}

    def inputs(self, row: np.ndarray) -> dict[str, np.ndarray]:
        """Every input for one row."""
        if self.entry.copies > 1:
            row = np.repeat(row, self.entry.copies, axis=0)
        if self.context:
            before = [(0, 0)] * row.ndim
            before[self.entry.front.time_axis] = (self.context, 0)
            row = np.pad(row, before)
        return {self.entry.name: row, **{side.name: side.value(row, self.entry) for side in self.sides}}

    def scores(self, sound: FloatArray) -> FloatArray:
        """The scores [K] of one sound [N], as the graph gives them, of frames joined."""
        return self.output.of(np.asarray(self.run(sound, [self.output.name])[self.output.name]))
