"""What leads on from a bundle: the commands that give it the explanations that it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Manifest


def next_steps(
    manifest: Manifest,
    bundle: Path | None,
    source: str | None = None,
    *,
    told: str = "",
    trainable: bool = True,
) -> list[str]:
    """Commands, each with what it adds; none where the bundle has masks and prototypes.

    Args:
        manifest: Of the bundle.
        bundle: Its folder; None: the shipped one.
        source: What it was exported from; None: not known.
        told: Options that were given of it, as on a command line.
        trainable: Whether training can differentiate through it.

    Returns:
        A line for each.

    """
    name = "BUNDLE" if bundle is None else str(bundle)
    # PyTorch takes part in every export but that of a graph.
    graph = "torch" not in manifest.versions
    source = source or ("model.onnx" if graph else "SOURCE")
    told = told and f" {told}"
    steps = []
    # A mask says what is enough for a label; a value has none. Training knows no state of windows before.
    trainable = trainable and manifest.task != "regression" and not manifest.state_size
    if manifest.stage("decoder") is None and trainable:
        steps.append(
            f"earmark train lmac {source} DATA -o RUN{told}, then earmark export {source} -o {name}{told} "
            "--decoder RUN --force: masks"
        )
    if manifest.prototypes is None and manifest.feature_map is not None:
        steps.append(f"earmark index {name} DATA: prototypes")
    if manifest.feature_map is None and graph:
        steps.append(
            f"earmark export {source} -o {name}{told} --feature-map TENSOR --force: prototypes, after index "
            f"(earmark inspect {source} names tensors)"
        )
    if not manifest.explainers:
        steps.append(f"earmark explain CLIP -b {name} -m segments: which stretches count, without training")
    return steps
