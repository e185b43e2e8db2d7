"""Explainers in worker processes: an `Explainer` travels as path and device, and opens its sessions there."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

import earmark

RATE = 16_000


def label_of(explainer: earmark.Explainer, seed: int) -> str:
    """What the model says of some noise."""
    wave = 0.1 * np.random.default_rng(seed).standard_normal(RATE).astype(np.float32)
    return explainer.explain((wave, RATE), methods=[]).predictions[0][0]


if __name__ == "__main__":
    explainer = earmark.load(device="cpu")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        print(list(pool.map(label_of, [explainer] * 4, range(4))))
