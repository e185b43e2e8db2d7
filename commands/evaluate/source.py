"""The attributions of `earmark evaluate masks --source`: PyTorch and captum on the exported model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import MissingDependencyError, SourceError
from ...runtime.audio.lengths import samples_of
from ...runtime.values.arrays import FloatArray

if TYPE_CHECKING:
    from ...evaluation.faithfulness.maskers import Masker
    from ...export.attributions import Attributions
    from ...runtime.engine import Engine
    from ...runtime.inference.window import Window

# Logits of the exported graph may differ from the source's by this much; another model's differ by more.
_SAME = 1e-2
# The names, for those who only want to list them: PyTorch is not imported for it.
ATTRIBUTIONS = ("saliency", "integrated_gradients", "smoothgrad", "gradcam", "gradcam_energy", "shap")


def attributed(engine: Engine, source: str, names: list[str], seed: int) -> list[Masker]:
    """Maskers out of the attribution methods `names` over the source that the bundle was exported from.

    Raises MissingDependencyError without PyTorch or captum, SourceError where the source is another model.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f"--source needs PyTorch, which cannot be imported ({error}); "
            "pip install 'earmark[cpu,export,evaluation]'"
        ) from error
    from ...export.attributions import Attributions
    from ...export.source.source import Source
    from ...export.sources import resolve

    opened = resolve(source, allow_missing_decoder=True)
    if not isinstance(opened, Source):
        raise SourceError(
            f"{source}: holds no PyTorch model, so nothing has a gradient; give a run directory"
        )
    manifest = engine.manifest
    if list(opened.labels) != manifest.labels or opened.analysis != manifest.analysis:
        raise SourceError(f"{source}: is not what {manifest.name} was exported from; labels or STFT differ")
    maskers = [_masker(name, Attributions(opened, name, seed)) for name in names]
    length = samples_of(manifest.window.seconds, manifest.sample_rate)
    noise = (0.1 * np.random.default_rng(0).standard_normal((1, length))).astype(np.float32)
    with torch.no_grad():
        expected = opened.reference.logits(torch.from_numpy(noise)).numpy()
    if np.abs(expected - engine.logits_of(noise)).max() > _SAME:
        raise SourceError(f"{source}: is not what {manifest.name} was exported from; its logits differ")
    return maskers


def _masker(name: str, attributions: Attributions) -> Masker:
    """An attribution method as a masker: its values [T, F], 0 and more, rank the cells."""
    from ...evaluation.faithfulness.maskers import Masker

    def compute(_: Engine, window: Window, target: int, __: np.random.Generator) -> FloatArray:
        return attributions(window.stft, target)

    return Masker(name, compute, binary=True)
