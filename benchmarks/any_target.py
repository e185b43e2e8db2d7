"""Asked for one of two sounds: whether the mask of a decoder for any class follows the question.

    python benchmarks/any_target.py BUNDLE DATA --fold 4 [--pairs 120] [--seed 0]

Pairs of clips of two classes, each classified right alone, are added at equal level. The mask is asked for
the one class and for the other. Reported: by how many decibels the mask for a class keeps that class's clip
rather than the other (energy of each clip's STFT under the mask's gain), and the score of the class asked
for in the kept sound beside its score in the mixture. Then, since both parts of a pair are known, how clean
the kept sound is (earmark.evaluation.faithfulness.artefacts), beside the mixture as it is and the masks that
only one who knows the parts can make: ideal ratio |A| / (|A| + |B|) and ideal binary |A| > |B|. 95 %
bootstrap intervals over source recordings.

How it comes out when the training is repeated: any_target_stability.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from artefacts import frequency_weighted_segmental_snr, log_kurtosis_ratio
from measuring import run_main

import earmark
from earmark.evaluation.data.folder import list_sounds, load_sound
from earmark.evaluation.statistics import bootstrap
from earmark.runtime.audio.lengths import samples_of
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.audio.stft import as_complex, forward, gain, inverse
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.scores import scores_of


@dataclass(frozen=True)
class PairAnswers:
    """A row per pair and class asked for.

    apart: dB by which the clip asked for is kept rather than the other
    before, after: score of the class in the mixture and in what is kept; area: mean of the mask
    groups: source recording of the clip asked for; clips, right: how many there were, and classified right
    clean: KINDS -> [rows, 2] fwSegSNR towards the clip asked for in dB, log kurtosis ratio of what is left
        of the other
    """

    apart: np.ndarray
    before: np.ndarray
    after: np.ndarray
    area: np.ndarray
    groups: np.ndarray
    clips: int
    right: int
    clean: dict[str, np.ndarray]


# What is done with the mixture: nothing, the bundle's mask, that mask cut at 0.5, the ideal masks.
KINDS = ("mixture", "mask", "thresholded", "ideal ratio", "ideal binary")


def ask(bundle: Path, data: Path, *, fold: int | None = None, pairs: int = 120, seed: int = 0) -> PairAnswers:
    """Ask the masks of `bundle` for both classes of pairs of clips of the class folders in `data`."""
    explainer = earmark.load(bundle, device="cpu")
    engine = engine_of(explainer)
    if engine.manifest.mask_targets != "any":
        raise SystemExit(f"{bundle}: its decoder speaks for the predicted class only")
    rate, spec, labels = (
        engine.manifest.sample_rate,
        engine.manifest.analysis,
        explainer.labels,
    )
    samples = samples_of(engine.manifest.window.minimum_seconds, rate)
    clips = [clip for clip in list_sounds(data).clips if fold in (None, clip.fold)]
    waves = {clip.name: _unit(load_sound(clip.path, rate), samples) for clip in clips}
    right = [
        clip
        for clip in clips
        if labels[int(next(engine.windows(open_sound((waves[clip.name], rate), None, rate))).logits.argmax())]
        == clip.label
    ]
    random = np.random.default_rng(seed)
    rows: list[tuple[float, float, float, float]] = []
    groups: list[str] = []
    clean: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    how = engine.manifest.mask_gain
    while len(rows) < 2 * pairs:
        one, other = (right[int(index)] for index in random.choice(len(right), 2, replace=False))
        if one.label == other.label:
            continue
        mixed = waves[one.name] + waves[other.name]
        window = next(engine.windows(open_sound((mixed, rate), None, rate)))
        amplitude = np.abs(as_complex(window.stft))
        for asked, rest in ((one, other), (other, one)):
            target = labels.index(asked.label)
            mask = engine.window_mask("mask", window, target)
            gains = gain(mask, amplitude, how)
            parts = [np.abs(forward(waves[c.name], spec)) for c in (asked, rest)]
            kept = [float(((part * gains) ** 2).sum()) for part in parts]
            whole = [float((part**2).sum()) for part in parts]
            apart = 10 * np.log10((kept[0] / whole[0] + 1e-9) / (kept[1] / whole[1] + 1e-9))
            logits = engine.pipeline.logits_of_spectra((window.stft * gains[..., None])[None])[0]
            before, after = (scores_of(one, "single_label")[target] for one in (window.logits, logits))
            rows.append((apart, before, after, float(mask.mean())))
            groups.append(asked.recording)
            sharp = gain(mask >= 0.5, amplitude, how)
            gains_of = dict(zip(KINDS, (np.ones_like(gains), gains, sharp, *_ideal(*parts)), strict=True))
            for kind, each in gains_of.items():
                sound = inverse(as_complex(window.stft) * each, spec, len(mixed))
                snr = frequency_weighted_segmental_snr(waves[asked.name], sound, rate)
                clean[kind].append((snr, log_kurtosis_ratio(parts[1], parts[1] * each)))
    of_kinds = {kind: np.array(values) for kind, values in clean.items()}
    return PairAnswers(*np.array(rows).T, np.array(groups), len(clips), len(right), of_kinds)


def _ideal(asked: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ideal ratio mask and the ideal binary mask of the magnitudes of two parts."""
    return asked / np.maximum(asked + rest, 1e-12), (asked > rest).astype(np.float32)


def main(bundle: Path, data: Path, *, fold: int | None = None, pairs: int = 120, seed: int = 0) -> None:
    """Run and print."""
    answers = ask(bundle, data, fold=fold, pairs=pairs, seed=seed)
    print(f"{answers.right} of {answers.clips} clips classified right; {pairs} pairs, both classes asked for")
    for name, values in (
        ("keeps the one asked for rather than the other, dB", answers.apart),
        ("follows the question (above 0 dB), share", (answers.apart > 0).astype(float)),
        ("score of the class in the mixture", answers.before),
        ("score of the class in what is kept", answers.after),
    ):
        print(f"{name:<54} {bootstrap(values, answers.groups):.2f}")
    for kind, values in answers.clean.items():
        for name, column in zip(("fwSegSNR, dB", "log kurtosis ratio"), values.T, strict=True):
            print(f"{kind + ': ' + name:<54} {bootstrap(column, answers.groups):.2f}")


def _unit(wave: np.ndarray, samples: int) -> np.ndarray:
    """The first `samples` samples, zero-padded, at a root mean square of 0.1."""
    cut = np.pad(wave[:samples], (0, max(0, samples - len(wave))))
    return (0.1 * cut / (np.sqrt(np.mean(cut**2)) + 1e-9)).astype(np.float32)


if __name__ == "__main__":
    run_main(main)
