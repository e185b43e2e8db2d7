r"""Masks for classifiers that take features and are known as an .onnx file alone: an AST-like, a PANNs-like.

A small one of either kind is trained on folds 1 to 3 and exported from its features to its logits. From
there on only the file counts: a decoder is trained over it, as `earmark train lmac model.onnx --frontend`
does, both go into a bundle, and its masks are judged on the held-out fold beside the whole sound, the
loudest cells and cells by lot. Every step that has left its result in WORK is not done again. Needs
transformers for the AST.

    python benchmarks/feature_graph_masks.py DATA WORK --kind ast --kind panns
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from measuring import run_main
from torch import nn
from torch.nn import functional

from earmark.evaluation.data.folder import list_sounds, load_sound
from earmark.evaluation.faithfulness.evaluate import evaluate_masks
from earmark.evaluation.settings import MaskSettings
from earmark.export.exporting import export_bundle
from earmark.export.frontends.frontend import Described
from earmark.export.sources.onnx.file import load
from earmark.export.sources.onnx.frontends import describe
from earmark.export.training.lmac.recipe import train_lmac
from earmark.export.training.options import OverSourceOptions
from earmark.export.training.settings import LmacSettings
from earmark.runtime.explainer import load as load_bundle

# What the presets leave to the model: about five seconds of sound.
_FRONTS = {
    "ast": {"frames": {"count": 512}},
    "panns": {"sample_rate": 16000, "stft": {"n_fft": 512, "hop": 320}, "mel": {"high_hz": 8000.0}},
}
_SECONDS = {"ast": None, "panns": 5.0}
_EPOCHS = {"ast": 40, "panns": 30}
_ROWS = ("mask", "thresholded", "ones", "energy", "random")


class SmallAst(nn.Module):
    """Features [B, 512, 128] -> logits: transformers' AST, small."""

    def __init__(self, classes: int) -> None:
        import transformers

        super().__init__()
        config = transformers.ASTConfig(
            hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, patch_size=16,
            frequency_stride=16, time_stride=16, max_length=512, num_mel_bins=128, num_labels=classes,
            hidden_dropout_prob=0.0, attn_implementation="eager",
        )  # fmt: skip
        self.model = transformers.ASTForAudioClassification(config)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        logits: torch.Tensor = self.model(features).logits
        return logits


class Panns(nn.Module):
    """Features [B, 1, T, 64] -> logits: PANNs' Cnn10 with an eighth of its channels or fewer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(64)
        widths = (1, 8, 16, 32, 48)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(one, two, 3, padding=1, bias=False), nn.BatchNorm2d(two), nn.ReLU(),
                nn.Conv2d(two, two, 3, padding=1, bias=False), nn.BatchNorm2d(two), nn.ReLU(),
            )
            for one, two in pairwise(widths)
        )  # fmt: skip
        self.fc1, self.fc = nn.Linear(48, 64), nn.Linear(64, classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = self.bn0(features.transpose(1, 3)).transpose(1, 3)
        for block in self.blocks:
            x = functional.avg_pool2d(block(x), 2)
        frames = x.mean(dim=3)
        pooled = frames.amax(dim=2) + frames.mean(dim=2)
        return self.fc(torch.relu(self.fc1(functional.dropout(pooled, 0.2, self.training))))


MODELS = {"ast": SmallAst, "panns": Panns}
say = partial(print, flush=True)


def augmented(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Features moved in time and level, with a stretch of frames and of bands at their mean."""
    time = 1 if rows.ndim == 3 else 2
    moved = np.stack([np.roll(row, random.integers(row.shape[time - 1]), axis=time - 1) for row in rows])
    moved += random.normal(0.0, 0.1 * rows.std(), (len(rows),) + (1,) * (rows.ndim - 1)).astype(np.float32)
    for row in moved:
        for axis, most in ((time - 1, 0.25), (time, 0.2)):
            size = row.shape[axis]
            width = int(random.uniform(0, most) * size)
            start = random.integers(size - width + 1)
            index = [slice(None)] * row.ndim
            index[axis] = slice(start, start + width)
            row[tuple(index)] = row.mean()
    return moved


def batches(count: int, random: np.random.Generator, size: int = 16) -> Iterator[np.ndarray]:
    """Indices of an epoch, batch by batch."""
    order = random.permutation(count)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]


def trained(kind: str, rows: np.ndarray, labels: np.ndarray, classes: int, epochs: int) -> nn.Module:
    """A classifier of the kind, by AdamW and mixup."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model = MODELS[kind](classes).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * (len(rows) // 16)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    targets = np.eye(classes, dtype=np.float32)[labels]
    for epoch in range(epochs):
        total = 0.0
        for chosen in batches(len(rows), random):
            share = np.float32(random.beta(0.4, 0.4))
            other = random.permutation(chosen)
            features = share * augmented(rows[chosen], random) + (1 - share) * augmented(rows[other], random)
            wanted = share * targets[chosen] + (1 - share) * targets[other]
            loss = functional.cross_entropy(model(torch.from_numpy(features)), torch.from_numpy(wanted))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss)
        if epoch % 10 == 9:
            say(f"{kind}: epoch {epoch + 1}, loss {total / (len(rows) // 16):.3f}")
    return model.eval()


def exported(model: nn.Module, rows: np.ndarray, path: Path) -> None:
    """The classifier as an .onnx file, features in, logits out, for any batch."""
    free = torch.export.Dim.DYNAMIC
    shape: dict[int, object] = {0: free}
    if rows.ndim == 4:
        shape[2] = free
    torch.onnx.export(
        model, (torch.from_numpy(rows[:2].copy()),), str(path), dynamo=True, input_names=["features"],
        output_names=["logits"], dynamic_shapes=(shape,), external_data=False,
    )  # fmt: skip


def rows_of(front: Described, paths: list[Path]) -> np.ndarray:
    """Features of clips, of 5 s each."""
    samples = 5 * front.sample_rate
    sounds = [load_sound(path, front.sample_rate)[:samples] for path in paths]
    return np.concatenate([front.rows(np.pad(sound, (0, samples - len(sound)))) for sound in sounds])


def main(
    data: Path,
    work: Path,
    *,
    kind: Sequence[str] = tuple(MODELS),
    fold: int = 4,
    epochs: int = 28,
    batch_size: int = 16,
    folds: str = "1,2,3",
    width: int | None = None,
    seed: int = 0,
) -> None:
    """Train, export, train a decoder over the file, export with it, judge."""
    work.mkdir(parents=True, exist_ok=True)
    folder = list_sounds(data)
    index = {label: number for number, label in enumerate(folder.labels)}
    kinds, base = kind, work
    for kind in kinds:
        work = base / kind
        work.mkdir(exist_ok=True)
        front = describe(kind, _FRONTS[kind])
        graph = work / "model.onnx"
        if not graph.is_file():
            started = time.process_time()
            parts = {
                name: [clip for clip in folder.clips if (clip.fold == fold) == (name == "held")]
                for name in ("train", "held")
            }
            parts["train"] = [clip for clip in parts["train"] if clip.fold in {1, 2, 3}]
            rows = {name: rows_of(front, [clip.path for clip in clips]) for name, clips in parts.items()}
            truth = {name: np.array([index[clip.label] for clip in clips]) for name, clips in parts.items()}
            model = trained(kind, rows["train"], truth["train"], len(index), _EPOCHS[kind])
            with torch.no_grad():
                right = (model(torch.from_numpy(rows["held"])).argmax(1).numpy() == truth["held"]).mean()
            say(f"{kind}: {right:.3f} of fold {fold}, {time.process_time() - started:.0f} s of CPU")
            exported(model, rows["train"], graph)
        stranger = load(
            graph,
            labels=folder.labels,
            frontend=front,
            window_seconds=_SECONDS[kind],
        )
        run = work / f"decoder{seed}"
        settings = LmacSettings(
            val_fold=fold,
            train_folds=tuple(map(int, folds.split(","))),
            epochs=epochs,
            batch_size=batch_size,
            width=width,
            seed=seed,
        )
        if not (run / "decoder.safetensors").is_file():
            started = time.process_time()
            resume = (run / "decoder.json").is_file()
            summary = train_lmac(stranger, data, settings, OverSourceOptions(out=run, resume=resume))
            say(f"{kind}: decoder in {time.process_time() - started:.0f} s of CPU: {summary}")
        export_bundle(stranger, work / f"bundle{seed}", decoder=run, force=True, on_doubt=say)
        with load_bundle(work / f"bundle{seed}", device="cpu") as explainer:
            report = evaluate_masks(explainer, folder, MaskSettings(fold=fold, methods=_ROWS))
        (work / f"report{seed}.json").write_text(json.dumps(report.to_dict()))
        say(report.table.text(intervals=True))
        say(report.differences.text(intervals=True))


if __name__ == "__main__":
    run_main(main)
