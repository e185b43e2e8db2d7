"""A mask as the prior of segments: where its level lies, whose evidence is shared out, which priors count."""

import numpy as np

import earmark
from earmark.runtime.methods.segments.expectation import expected_of
from earmark.runtime.methods.segments.gaussian_process import LENGTHS, Pieces, posterior, prior_root
from earmark.runtime.methods.segments.grid import SegmentGrid
from earmark.runtime.methods.segments.masks import draw_masks
from earmark.runtime.methods.segments.settings import SegmentSettings

RATE = 8000
# A strong event covers the segments 10 and 11 and half of 12, a weaker one all of 20 and 21.
STRONG, WEAK = slice(8000, 10_000), slice(16_000, 17_600)
WORTH = {"strong": 3.0, "weak": 1.75}


def half_covered():
    """A sound, a model that is linear in the shares of both events that are left, and a mask's levels."""
    random = np.random.default_rng(0)
    waveform = np.where(random.random(3 * RATE) < 0.5, -0.3, 0.3).astype(np.float32)

    def score(sounds):
        strong, weak = (np.square(sounds[:, one]).mean(axis=1) / 0.09 for one in (STRONG, WEAK))
        return 1.0 / (1.0 + np.exp(2.0 - WORTH["strong"] * strong - WORTH["weak"] * weak))

    levels = np.full(30, 0.02)
    levels[[10, 11, 20, 21]], levels[12] = 0.9, 0.46
    return waveform, score, levels


def test_a_segment_that_evidence_reaches_into_comes_after_those_that_it_covers():
    waveform, score, levels = half_covered()
    settings = {"fill": "zeros", "calls": 40, "pairs": False}
    result = earmark.segments(score, waveform, RATE, expected=levels, **settings)
    worth = np.zeros(30)
    worth[[10, 11]], worth[12], worth[[20, 21]] = 1.2, 0.6, 0.875
    np.testing.assert_allclose(result.importance, worth, atol=0.05)
    assert set(result.top(4)) == {10, 11, 20, 21}
    assert result.top(5)[4] == 12
    # Each segment's power goes to its neighbours within three, by the distance and by the mask.
    deviation = np.sqrt(0.1 + 0.9 * levels / levels.mean())
    apart = np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    shares = np.where(apart <= 3, np.exp(-0.5 * (apart / 1.25) ** 2), 0.0) * deviation[:, None]
    shares /= shares.sum(axis=0)
    reference = np.sqrt(shares @ result.importance**2) + 0.3 * (shares @ result.importance)
    np.testing.assert_allclose(result.magnitude, reference, rtol=0.01, atol=1e-3)
    # Power alone, without a mask, prefers the neighbour of what is strong.
    assert 12 in earmark.segments(score, waveform, RATE, **settings | {"calls": 100}).top(4)


def test_a_level_is_the_mean_of_what_of_each_frame_lies_in_the_segment():
    """Of frames of 20 ms around 0, 20, 40 ms and so on, the one at 100 ms is half of either segment."""
    grid = SegmentGrid.of(2400, RATE, SegmentSettings())
    mask = np.zeros((16, 4), np.float32)
    mask[5] = 1.0
    np.testing.assert_allclose(expected_of(mask, 160, grid), [0.1, 0.1, 0.0], atol=1e-12)
    mask[6:10, :2] = 1.0
    np.testing.assert_allclose(expected_of(mask, 160, grid), [0.1, 0.1 + 0.8 * 0.5, 0.0], atol=1e-12)
    assert expected_of(np.zeros((16, 4), np.float32), 160, grid) is None


def test_priors_with_and_without_the_mask_are_averaged_by_their_likelihood():
    """Against dense linear algebra: every prior at its best length and scale, then exp(log likelihood)."""
    segments = 8
    random = np.random.default_rng(3)
    masks = draw_masks(random, 12, (segments, 1))
    values = masks @ np.array([0.1, -0.2, 0.3, 1.0, 0.6, 0.0, -0.4, 0.2]) + 0.5 * random.standard_normal(24)
    levels = np.array([0.1, 0.1, 0.2, 0.9, 0.3, 0.1, 0.4, 0.1])
    found = posterior(masks, values, Pieces.uniform(segments), expected=levels)
    design, target = masks - masks.mean(axis=0), values - values.mean()
    shape = 0.1 + 0.9 * levels / levels.mean()
    unit = levels / np.sqrt(np.square(levels).mean())
    best = []
    for square, along in ((np.ones(segments), 0.0), (shape, 0.0), (shape, 3.0)):
        tried = []
        for length in LENGTHS:
            root = prior_root(Pieces.uniform(segments).centres, 1, length, 0.0)
            kernel = np.sqrt(np.outer(square, square)) * (root @ root.T) + along * np.outer(unit, unit)
            answers = design @ kernel @ design.T
            # The candidates of s / v are relative to the answers' mean eigenvalue.
            rank = segments + (along > 0.0)
            for ratio in np.logspace(-3.0, 4.0, 29) / (np.trace(answers) / rank):
                inner = np.linalg.inv(np.eye(24) + ratio * answers)
                noise = target @ inner @ target / 23
                score = 0.5 * 23 * np.log(noise) - 0.5 * np.linalg.slogdet(inner)[1]
                tried.append((score, ratio, noise, kernel, inner))
        best.append(min(tried, key=lambda one: one[0]))
    likely = np.exp([best[0][0] - one[0] for one in best])
    likely /= likely.sum()
    assert likely.min() > 0.02
    means = [ratio * kernel @ design.T @ inner @ target for _, ratio, _, kernel, inner in best]
    mean = sum(share * one for share, one in zip(likely, means, strict=True))
    np.testing.assert_allclose(found.mean, mean, atol=1e-6)
    covariances = [
        noise * ratio * (kernel - ratio * kernel @ design.T @ inner @ design @ kernel)
        for _, ratio, noise, kernel, inner in best
    ]
    total = sum(
        share * (one + np.outer(own - mean, own - mean))
        for share, one, own in zip(likely, covariances, means, strict=True)
    )
    np.testing.assert_allclose(found.covariance, total, atol=1e-6)
    np.testing.assert_allclose(found.scale**2, likely[0] + (1.0 - likely[0]) * shape, atol=1e-6)
