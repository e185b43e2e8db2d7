"""Whether components sound at every other frame: their modulation at half of the frame rate.

    python benchmarks/components_flutter.py BUNDLE DATA [--fold 4] [--clips 40]

Of every clip's components, the share of the modulation spectrum's energy near half of the frame rate: of the
activations, of the tracks (their energy frame by frame, of those selected), and of the sound itself. Prints
the mean over clips and components, and that of the worst component.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from measuring import run_main

import earmark
from earmark.evaluation.data.folder import list_sounds, load_sound
from earmark.runtime.explainer import engine_of

Values = npt.NDArray[np.floating]
# From here on, as a share of half of the frame rate, a modulation counts as one at every other frame.
NEAR = 0.98


def at_half_rate(over_time: Values) -> Values:
    """Share of the modulation spectrum's energy near half of the frame rate, 0..1.

    sum over f >= 0.98 of |DFT(h)(f)|^2, by the sum over all f, 0 included; f in halves of the frame rate.
    A steady track has 0, one that sounds at every other frame .5, white noise of mean 0 about .02.

    over_time [..., T]: activations or energies, T at least 2; of an odd number the last is left out, so that
    there is a frequency at the half itself. Returns [...]; NaN where a track is silent.
    """
    frames = over_time.shape[-1] // 2 * 2
    power = np.square(np.abs(np.fft.rfft(over_time[..., :frames].astype(np.float64), axis=-1)))
    # All but the first and the last stand for two frequencies.
    power[..., 1:-1] *= 2.0
    near = np.arange(power.shape[-1]) * 2.0 >= NEAR * frames
    whole = power.sum(axis=-1)
    share: Values = power[..., near].sum(axis=-1) / np.where(whole > 0.0, whole, np.nan)
    return share


def energies(sound: Values, hop: int) -> Values:
    """[..., frames] energy of [..., samples] from one frame to the next; the rest is left out."""
    frames = sound.shape[-1] // hop
    pieces = np.square(sound[..., : frames * hop]).reshape(*sound.shape[:-1], frames, hop)
    summed: Values = pieces.sum(axis=-1)
    return summed


def main(bundle: Path, data: Path, *, fold: int | None = None, clips: int = 40) -> None:
    """Run and print."""
    chosen = [clip for clip in list_sounds(data).clips if fold in (None, clip.fold)]
    rows: dict[str, list[Values]] = {"activations": [], "tracks of those selected": [], "the sound": []}
    with earmark.load(bundle, device="cpu") as explainer:
        manifest = engine_of(explainer).manifest
        rate, hop = manifest.sample_rate, manifest.analysis.hop
        for clip in chosen[:: max(1, len(chosen) // clips)]:
            sound = load_sound(clip.path, rate)
            found = explainer.explain((sound, rate), methods=["components"]).components
            rows["activations"].append(at_half_rate(found.activations))
            tracks = [energies(found[index].audio().ravel(), hop) for index in found.selected]
            rows["tracks of those selected"] += [at_half_rate(one) for one in tracks]
            rows["the sound"].append(at_half_rate(energies(sound, hop)))
    for name, shares in rows.items():
        line = f"{name:<26}{np.nanmean([np.nanmean(one) for one in shares if np.isfinite(one).any()]):8.2%}"
        if name == "activations":
            by_component = np.ma.masked_invalid(np.stack(shares))
            line += f"  worst component {by_component.mean(axis=0).max():.2%}"
        print(line)


if __name__ == "__main__":
    run_main(main)
