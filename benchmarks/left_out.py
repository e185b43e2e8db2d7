"""How well sounds of a class that was left out of training are told from sounds of the known classes.

    python benchmarks/left_out.py esc10 OUT --classes dog_bark,rain --train-folds 1-2 --fold 3

Of each class: trains a classifier without it, exports and indexes it (OUT/<class>/bundle; one that is there
is taken as it is), and asks it about the clips of a fold, and of a folder of other sounds (`--foreign`).
AUROC of known classes against the left-out one and against the foreign sounds, with 95 % intervals over
recordings, by

- familiarity: `result.familiarity.percentile`, and the share below the 5th of each kind;
- views, sound, margin: its parts alone, views by the mean of their percentiles, the others of the class that
  the sound is most like;
- score: the highest score of the model.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import run_main
from sklearn.metrics import roc_auc_score

import earmark
from earmark.errors import EarmarkError
from earmark.evaluation.data.folder import list_sounds
from earmark.export.bundle.write import write_bundle
from earmark.export.prototypes.build import index_bundle
from earmark.export.sources.run import source as run_source
from earmark.export.training.classifier import train_classifier
from earmark.export.training.options import ClassifierOptions, Device
from earmark.export.training.settings import ClassifierSettings
from earmark.runtime.audio.listing import list_sound_files

MEASURES = ("familiarity", "views", "sound", "margin", "score")


@dataclass(frozen=True)
class ClipMeasures:
    """What a model says of a clip; measures: higher is more like what it knows."""

    recording: str
    label: str
    predicted: str
    measures: dict[str, float]


def model_without(
    data: Path, label: str, out: Path, settings: ClassifierSettings, folds: set[int], device: Device
) -> Path:
    """The bundle of a classifier that never had the class; its training clips lie beside it."""
    clips, bundle = out / "clips", out / "bundle"
    if not clips.exists():
        for clip in list_sounds(data).clips:
            if clip.label != label and clip.fold in folds:
                (clips / clip.label).mkdir(parents=True, exist_ok=True)
                shutil.copy(clip.path, clips / clip.label)
    if not bundle.exists():
        train_classifier(clips, out / "run", settings, ClassifierOptions(device=device))
        write_bundle(run_source.load(out / "run"), bundle)
        index_bundle(bundle, clips)
    return bundle


def asked(explainer: earmark.Explainer, clips: list[tuple[Path, str, str]]) -> list[ClipMeasures]:
    """What the model says of clips: path, recording, label."""
    answers = []
    for path, recording, label in clips:
        try:
            result = explainer.explain(path, methods=["prototypes"])
        except EarmarkError as error:
            print(f"left out {path.name}: {error}", flush=True)
            continue
        (best, score), familiar = result.predictions[0], result.familiarity
        views = float(np.mean(list(familiar.views.values())))
        measures = {"familiarity": familiar.percentile, "views": views, **familiar.acoustics, "score": score}
        answers.append(ClipMeasures(recording, label, best, measures))
    return answers


def auroc(known: np.ndarray, other: np.ndarray, recordings: tuple[list[str], list[str]]) -> list[float]:
    """AUROC and its 95 % interval: both sides drawn anew by recordings."""

    def area(first: np.ndarray, second: np.ndarray) -> float:
        return float(roc_auc_score(np.r_[np.ones(len(first)), np.zeros(len(second))], np.r_[first, second]))

    random = np.random.default_rng(0)
    drawn = []
    for _ in range(500):
        parts = []
        for values, names in ((known, np.array(recordings[0])), (other, np.array(recordings[1]))):
            chosen = random.choice(np.unique(names), len(np.unique(names)))
            parts.append(np.concatenate([values[names == name] for name in chosen]))
        drawn.append(area(*parts))
    return [area(known, other), *np.quantile(drawn, [0.025, 0.975]).tolist()]


def judge(bundle: Path, data: Path, label: str, fold: int, foreign: Path | None) -> dict:
    """AUROC of each measure, against the class that was left out and against foreign sounds."""
    explainer = earmark.load(bundle, device="cpu")
    clips = [clip for clip in list_sounds(data).clips if clip.fold == fold]
    answers = asked(explainer, [(clip.path, clip.recording, clip.label) for clip in clips])
    sets = {
        "known": [one for one in answers if one.label != label],
        "left out": [one for one in answers if one.label == label],
    }
    if foreign is not None:
        files = list_sound_files(foreign).files
        sets["foreign"] = asked(explainer, [(path, path.stem, "") for path in files])
    values = {
        name: {measure: np.array([one.measures[measure] for one in of]) for measure in MEASURES}
        for name, of in sets.items()
    }
    names = {name: [one.recording for one in of] for name, of in sets.items()}
    row = {"left_out": label, "fold": fold}
    row["accuracy"] = float(np.mean([one.predicted == one.label for one in sets["known"]]))
    for name in sets:
        row[f"flagged {name}"] = float(np.mean(values[name]["familiarity"] < 5.0))
        for measure in MEASURES if name != "known" else ():
            row[f"{name}: {measure}"] = auroc(
                values["known"][measure], values[name][measure], (names["known"], names[name])
            )
    return row


def main(
    data: Path,
    out: Path,
    *,
    classes: str,
    train_folds: str = "1-2",
    fold: int = 3,
    foreign: Path | None = None,
    epochs: int = 40,
    width: int = 24,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Print a JSON line a class, and the means."""
    first, last = (int(part) for part in f"{train_folds}-{train_folds}".split("-")[:2])
    settings = ClassifierSettings(epochs=epochs, width=width, seed=seed)
    folds, rows = set(range(first, last + 1)), []
    for label in classes.split(","):
        bundle = model_without(data, label, out / label, settings, folds, device)
        rows.append(judge(bundle, data, label, fold, foreign))
        print(json.dumps(rows[-1]), flush=True)
    for key in rows[0]:
        if ":" in key:
            print(f"{key:28s} mean AUROC {np.mean([row[key][0] for row in rows]):.3f}")


if __name__ == "__main__":
    run_main(main)
