"""The stages in a folder that becomes a bundle, run by name on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...runtime.bundle.manifest import StageSpec
from ...runtime.inference.onnx_runtime import cpu_session
from ...runtime.inference.session import Tensors
from ...runtime.inference.tensors import Feeds, on_host


class Stages:
    """Sessions of the stages in `names`, or of all. Raises MissingDependencyError (no onnxruntime)."""

    def __init__(self, folder: Path, stages: Sequence[StageSpec], names: Sequence[str] | None = None) -> None:
        self._sessions: dict[str, Any] = {
            stage.name: cpu_session(folder / stage.file)
            for stage in stages
            if names is None or stage.name in names
        }

    def run(self, stage: str, feeds: Feeds, outputs: Sequence[str] | None = None) -> Tensors:
        """Run a stage: feeds by name -> outputs (all, or those named) by name."""
        return answers(self._sessions[stage], feeds, outputs)


def answers(session: Any, feeds: Feeds, outputs: Sequence[str] | None = None) -> Tensors:
    """What a session of onnxruntime's gives, by name: all, or the outputs that are named."""
    wanted = list(outputs) if outputs is not None else [output.name for output in session.get_outputs()]
    given = session.run(wanted, {name: on_host(one) for name, one in feeds.items()})
    return dict(zip(wanted, given, strict=True))
