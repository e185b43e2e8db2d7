r"""Masks of a classifier that is known as an .onnx file alone, against those trained from PyTorch.

The run's classifier is exported as a stranger would, waveform in, logits out, and a decoder is trained over
the file. Both decoders are bundled and judged by listening on the same clips, paired.

    python benchmarks/onnx_masks.py DATA WORK --seeds 0,1,2 --classifiers 'RUNS/s{seed}/classifier' \
        --decoders 'RUNS/s{seed}/decoder' --epochs 80
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from measuring import run_main
from torch import nn

from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.statistics import bootstrap
from earmark.export.exporting import export_bundle
from earmark.export.sources.onnx.file import load
from earmark.export.sources.run.source import load as load_run
from earmark.export.training.lmac.recipe import train_lmac
from earmark.export.training.options import OverSourceOptions
from earmark.export.training.settings import LmacSettings
from earmark.runtime.explainer import load as load_bundle


class Whole(nn.Module):
    """Waveform [B, N] -> logits [B, K]."""

    def __init__(self, front: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.front, self.classifier = front, classifier

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """The two chained."""
        return self.classifier(self.front(waveform))[0]


def exported(run: Path, path: Path) -> Path:
    """The run's classifier as an .onnx file."""
    source = load_run(run, decoder=False, interpreter=False, apex=False)
    samples = round(source.window.seconds * source.sample_rate)
    free = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        Whole(source.frontend, source.classifier).eval(),
        (0.1 * torch.randn(2, samples),),
        str(path),
        dynamo=True,
        opset_version=17,
        input_names=["waveform"],
        output_names=["logits"],
        dynamic_shapes=({0: free, 1: free},),
        external_data=False,
    )
    return path


def judged(bundle: Path, data: Path, fold: int) -> dict[str, np.ndarray]:
    """Of each validation clip the score, that of what is removed as it is listened to, and the area."""
    explainer = load_bundle(bundle)
    clips = [clip.path for clip in list_sounds(data).clips if clip.fold == fold]
    results = [explainer.explain(clip, methods=["mask"], rescore=True) for clip in clips]
    return {
        "score": np.array([result.score for result in results]),
        "removed": np.array([result.mask.rescored["audio"]["mask_out"] for result in results]),
        "area": np.array([result.mask.area for result in results]),
    }


def faithfulness(figures: dict[str, np.ndarray]) -> np.ndarray:
    """What removing takes from the score, [clips]."""
    return figures["score"] - figures["removed"]


def main(
    data: Path,
    work: Path,
    *,
    seeds: str = "0,1,2",
    classifiers: str,
    decoders: str,
    epochs: int = 80,
    width: int | None = None,
    fold: int = 4,
) -> None:
    """Train, bundle and judge, seed by seed."""
    work.mkdir(parents=True, exist_ok=True)
    paired = []
    for seed in map(int, seeds.split(",")):
        run, decoder = (Path(one.format(seed=seed)) for one in (classifiers, decoders))
        labels = load_run(run, decoder=False, interpreter=False, apex=False)
        graph = exported(run, work / f"s{seed}.onnx")
        stranger = load(
            graph,
            labels=labels.labels,
            sample_rate=labels.sample_rate,
            window_seconds=labels.window.seconds,
            level=labels.level,
        )
        trained = work / f"decoder{seed}"
        settings = LmacSettings(
            seed=seed,
            val_fold=fold,
            train_folds=(1, 2, 3),
            epochs=epochs,
            width=width,
        )
        if not (trained / "decoder.safetensors").is_file():
            resume = (trained / "decoder.json").is_file()
            train_lmac(stranger, data, settings, OverSourceOptions(out=trained, resume=resume, quiet=False))
        bundles = [work / f"{kind}{seed}" for kind in ("pytorch", "onnx")]
        export_bundle(run, bundles[0], decoder=decoder, force=True)
        export_bundle(stranger, bundles[1], decoder=trained, force=True)
        pytorch, onnx = (judged(bundle, data, fold) for bundle in bundles)
        paired.append(faithfulness(onnx) - faithfulness(pytorch))
        row = {
            "seed": seed,
            "pytorch": {name: float(values.mean()) for name, values in pytorch.items()},
            "onnx": {name: float(values.mean()) for name, values in onnx.items()},
            "difference of faithfulness": float(paired[-1].mean()),
        }
        print(json.dumps(row), flush=True)
    # Over clips drawn again, each with all its seeds.
    clips = np.tile(np.arange(len(paired[0])), len(paired))
    gap = bootstrap(np.concatenate(paired), clips, repeats=5000)
    print(f"onnx - pytorch: {gap:+.3f}, {len(paired)} seeds")


if __name__ == "__main__":
    run_main(main)
