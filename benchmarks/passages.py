"""What the time view gains by passages of like length and rhythm: on synthesised bursts, on recordings.

    python benchmarks/passages.py bursts BUNDLE...
    python benchmarks/passages.py recordings ASKED BUNDLE...

`bursts` indexes synthesised bursts of noise in each bundle (any model; labels are not the model's): seven
kinds of length and rhythm in five colours, and asks for fresh ones. A match of the query's own kind and
colour is left out; right is one of its kind. `recordings` asks bundles with an index about a folder of
labelled clips. Both print the share of labels that are right, of the nearest and of all shown, with passages
compared and not; `recordings` also how many of those shown lie in a passage of another length or rhythm.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile
from measuring import run_main
from scipy.signal import butter, sosfilt

import earmark
from earmark.evaluation.data.folder import list_sounds, load_sound
from earmark.export.prototypes.build import index_bundle
from earmark.prototypes_index.passages import like_passages
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.bundle.open import MANIFEST, read_manifest
from earmark.runtime.explainer import Explainer, engine_of
from earmark.runtime.methods.prototypes.generation import grid_of, open_generation
from earmark.runtime.methods.prototypes.method import Prototypes
from earmark.runtime.methods.prototypes.passages import Passages
from earmark.runtime.methods.prototypes.result import Prototype

# Bursts per second and seconds of each; 0: one burst, None: no end.
KINDS: dict[str, tuple[float | None, float]] = {
    "single short": (0.0, 0.1),
    "single long": (0.0, 0.8),
    "slow": (1.25, 0.1),
    "slow long": (1.0, 0.5),
    "middle": (3.0, 0.1),
    "quick": (7.0, 0.06),
    "lasting": (None, 0.0),
}
COLOURS = ((200, 800), (500, 2000), (1000, 4000), (3000, 7500), (100, 7500))
SECONDS, RATE = 5.0, 16_000


def bursts(bundles: Sequence[Path]) -> None:
    """Ask about sounds whose length and rhythm are known."""
    right: dict[str, list[tuple[str, list[bool]]]] = {"any": [], "like": []}
    for bundle in bundles:
        random = np.random.default_rng(1)
        with tempfile.TemporaryDirectory() as temporary:
            explainer = _over_bursts(bundle, Path(temporary), random)
            for kind in KINDS:
                for colour in range(len(COLOURS)):
                    sound = _burst(kind, colour, random)
                    for passages, found in right.items():
                        own = f"{kind}/{colour}-"
                        shown = [
                            one
                            for one in _nearest(explainer, sound, RATE, passages)
                            if not one.clip.startswith(own)
                        ]
                        if shown:
                            found.append((kind, [one.label == kind for one in shown]))
    for passages, found in right.items():
        print(f"{passages:<6} all            {_shares([one for _, one in found])}")
        for kind in KINDS:
            print(f"{passages:<6} {kind:<14} {_shares([one for which, one in found if which == kind])}")


def recordings(asked: Path, bundles: Sequence[Path]) -> None:
    """Ask about recordings."""
    for passages in ("any", "like"):
        right, unlike = [], []
        for bundle in bundles:
            explainer = earmark.load(bundle, device="cpu")
            rate = engine_of(explainer).manifest.sample_rate
            for clip in list_sounds(asked, fewest_classes=1).clips:
                sound = load_sound(clip.path, rate)
                shown = _nearest(explainer, sound, rate, passages)
                right.append([one.label == clip.label for one in shown])
                unlike += _unlike(explainer, sound, shown)
        print(f"{passages:<6} {_shares(right)}; in another passage: {np.mean(unlike):.3f}")


def _burst(kind: str, colour: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    rate, length = KINDS[kind]
    time = np.arange(int(SECONDS * RATE)) / RATE
    begin, pace = random.uniform(0.0, 0.5), random.uniform(0.9, 1.1)
    sections = butter(4, COLOURS[colour], "bandpass", fs=RATE, output="sos")
    noise = sosfilt(sections, random.standard_normal(len(time)))
    if rate is None:
        sounds = np.ones(len(time), bool)
    elif rate == 0.0:
        sounds = (time >= 1.0 + begin) & (time < 1.0 + begin + length)
    else:
        sounds = ((time - begin) * rate * pace) % 1.0 < length * rate * pace
    floor = 1e-4 * random.standard_normal(len(time))
    return (0.2 * noise * sounds / np.abs(noise).max() + floor).astype(np.float32)


def _over_bursts(bundle: Path, folder: Path, random: np.random.Generator) -> Explainer:
    """The bundle with an index of bursts and nothing else."""
    for kind in KINDS:
        (folder / "data" / kind).mkdir(parents=True)
        for colour in range(len(COLOURS)):
            sound = _burst(kind, colour, random)
            soundfile.write(folder / "data" / kind / f"{colour}-{kind.replace(' ', '')}-a.wav", sound, RATE)
    copy = folder / "bundle"
    shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("prototypes"))
    bare = Prototypes().without(read_manifest(bundle))
    bare = msgspec.structs.replace(bare, explainers=[one for one in bare.explainers if one != "prototypes"])
    (copy / MANIFEST).write_bytes(msgspec.json.encode(bare))
    index_bundle(copy, folder / "data", any_label=True)
    return earmark.load(copy, device="cpu")


def _nearest(
    explainer: Explainer, sound: npt.NDArray[np.float32], rate: int, passages: str
) -> tuple[Prototype, ...]:
    options = {"prototypes": {"passages": passages}}
    result = explainer.explain(sound, rate, methods=["prototypes"], options=options)
    assert result.prototypes is not None
    return tuple(result.prototypes["time"])


def _unlike(
    explainer: Explainer, sound: npt.NDArray[np.float32], shown: tuple[Prototype, ...]
) -> Iterator[bool]:
    """Of each match, whether it lies in a passage of another length or rhythm than its place."""
    engine = engine_of(explainer)
    manifest = engine.manifest
    generation = open_generation(engine.bundle.path, manifest)
    entries, known = generation.entries("time"), generation.passages("time")
    assert known is not None
    assert manifest.feature_map is not None
    grid, rate = grid_of(manifest.feature_map), manifest.sample_rate
    rows = {
        (generation.clip(int(one["clip"])).source, float(one["start_s"])): row
        for row, one in enumerate(entries)
    }
    own: dict[float, npt.NDArray[np.void]] = {}
    for window in engine.windows(open_sound(sound, rate, rate)):
        amplitude, begin = np.hypot(window.stft[..., 0], window.stft[..., 1]), window.offset / rate
        seconds = min(window.waveform.shape[-1], len(sound) - window.offset) / rate
        frames = np.arange(grid.frames_in(seconds))
        passages = Passages(amplitude, rate, manifest.analysis.hop, grid, seconds).at(frames)
        own |= {
            round(begin + frame * grid.frame_seconds, 3): passages[frame : frame + 1]
            for frame in frames.tolist()
        }
    for one in shown:
        there = known[[rows[one.clip, one.start_s]]]
        yield not like_passages(own[round(one.place.start_s, 3)], there)[0, 0]


def _shares(right: list[list[bool]]) -> str:
    return (
        f"nearest right {np.mean([one[0] for one in right]):.3f}, "
        f"of all shown {np.mean([np.mean(one) for one in right]):.3f}"
    )


if __name__ == "__main__":
    run_main(bursts, recordings)
