"""A method of shap in earmark's tables: Shapley values of the segments of time.

pip install "earmark[cpu]" shap
earmark evaluate events BUNDLE DATA -m shap_explainer:shapley -m segments -m energy
"""

import csv
import tempfile
from pathlib import Path

import numpy as np
import shap

import earmark
from earmark.evaluation import Question, evaluate
from earmark.evaluation.synthesis.clips import clip_of, write_folder

CALLS = 120


def shapley(question: Question) -> np.ndarray:
    """KernelExplainer over the segments, silence for what is left out: an importance [M]."""
    borders = np.rint(question.edges * question.sample_rate).astype(int)
    lengths = np.diff(np.append(borders[:-1], len(question.waveform)))

    def log_odds(kept: np.ndarray) -> np.ndarray:
        scores = [question.score(question.waveform * np.repeat(row, lengths)[None]) for row in kept]
        near = np.clip(np.concatenate(scores).astype(np.float64), 1e-7, 1 - 1e-7)
        return np.log(near) - np.log1p(-near)

    nothing, everything = np.zeros((1, len(lengths))), np.ones((1, len(lengths)))
    explainer = shap.KernelExplainer(log_odds, nothing, seed=question.seed)
    values = explainer.shap_values(everything, nsamples=CALLS, silent=True)
    return np.asarray(values).reshape(-1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as data:
        paths = write_folder(data, seed=5, clips_per_class=1)
        with (Path(data) / "events.csv").open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(["clip", "label", "start_s", "end_s"])
            for path in paths:
                for event in clip_of(path.parent.name, 0, 5).events:
                    name = path.relative_to(data).as_posix()
                    table.writerow([name, path.parent.name, event.onset_s, event.offset_s])
        report = evaluate("events", earmark.load(), data, [shapley, "segments", "energy", "random"])
    print(report.text(intervals=True))
