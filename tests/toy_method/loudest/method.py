"""The method `loudest`: when the sound is loudest, whatever the model says."""

import heapq

import numpy as np

from earmark.errors import BundleError
from earmark.runtime.drawing.shown import Chart, Curve
from earmark.runtime.methods.evidence import frames_over_segments
from earmark.runtime.methods.protocol import GraphOutput, Inspection, Method

from .options import LoudestOptions
from .result import LoudestResult


class Loudest(Method):
    """The loudest frames of the listenable STFT."""

    name = "loudest"
    gives = ("loudest",)
    options = LoudestOptions
    outputs = (GraphOutput("loudness"),)
    has_window_mask = True
    time_rows = ("loudest",)

    def available(self, manifest):
        return True

    def check(self, manifest, path):
        if manifest.analysis.hop < 2:
            raise BundleError(f"{path}: frames of one sample have no loudness")

    def examine(self, bundle):
        bundle.file("golden.npz")

    def inspect(self, bundle):
        return Inspection((("loudest", "any sound"),), {"loudest": True})

    def begin(self, context, sound, target):
        return Running(context)

    def save(self, part, folder, about):
        text = f"{about.title}\n" + "".join(f"{one:.4f}\n" for one in part.at_s)
        (folder / "loudest.csv").write_text(text, encoding="utf-8")

    def pictures(self, part, about):
        values = np.zeros(100, np.float32)
        values[[min(99, int(100 * at / about.duration_s)) for at in part.at_s]] = 1.0
        curve = Curve(values, "loudest", len(part.at_s), strong=True)
        return {
            "loudest": Chart(
                about.title, about.caption, about.duration_s, about.spectrogram(), strips=(curve,)
            )
        }

    def store(self, part, arrays):
        arrays["at_s"] = np.float64(part.at_s)
        return part.warnings

    def restore(self, stored, arrays, sounds):
        return LoudestResult(tuple(arrays["at_s"].tolist()), tuple(stored))

    def compute(self, run, stages, forward, mask_gain):
        return {"loudness": loudness_of(forward.stft)}

    def window_mask(self, graphs, window, target):
        loudness = loudness_of(window.stft)
        kept = (loudness >= np.median(loudness)).astype(np.float32)
        return np.repeat(kept[:, None], window.stft.shape[1], axis=1)

    def importance(self, row, task):
        return frames_over_segments(loudness_of(task.window.stft), task.graphs.manifest, task.edges)


class Running:
    """The loudest frames so far."""

    def __init__(self, context):
        self._context, self._best = context, []

    def add(self, window):
        manifest = self._context.manifest
        for frame, loudness in enumerate(loudness_of(window.stft)):
            at = (window.offset + frame * manifest.analysis.hop) / manifest.sample_rate
            heapq.heappush(self._best, (float(loudness), at))
            if len(self._best) > self._context.options.frames:
                heapq.heappop(self._best)

    def finish(self):
        at_s = tuple(at for _, at in sorted(self._best, reverse=True))
        return LoudestResult(at_s, ("loudest: knows nothing of the model",))


def loudness_of(stft):
    """[..., T, F, 2] -> [..., T]."""
    return np.hypot(stft[..., 0], stft[..., 1]).sum(axis=-1)
