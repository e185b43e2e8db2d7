"""How clean kept sound is: against another implementation, and against values that can be worked out."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

_SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "artefacts.py"))
critical_bands, frequency_weighted_segmental_snr, log_kurtosis_ratio = (
    _SCRIPT[name] for name in ("critical_bands", "frequency_weighted_segmental_snr", "log_kurtosis_ratio")
)

RATE = 8000
TIME = np.arange(RATE) / RATE
CLEAN = sum(np.sin(2 * np.pi * hz * TIME) / k for k, hz in enumerate((220, 660, 1500, 2900), 1))
OTHER = np.sin(2 * np.pi * (300 + 900 * TIME) * TIME)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        # pysepm-evo 0.1.1: fwSNRseg(CLEAN, kept, 8000)
        (CLEAN + OTHER, 6.7552),
        (CLEAN + 0.1 * OTHER, 24.6042),
        (CLEAN * (1 + np.sin(2 * np.pi * 40 * TIME)) + 0.3 * OTHER, 9.7653),
    ],
)
def test_as_another_implementation(kept, expected):
    assert frequency_weighted_segmental_snr(CLEAN, kept, RATE) == pytest.approx(expected, abs=0.03)


def test_the_event_itself_at_any_level_has_the_most():
    assert frequency_weighted_segmental_snr(CLEAN, 0.3 * CLEAN, RATE) == 35.0


def test_frames_without_the_event_do_not_count():
    silent, kept = np.zeros(RATE), CLEAN + 0.1 * OTHER
    # No frame holds both ends of the gap.
    later = np.r_[np.zeros(RATE // 10), OTHER[RATE // 10 :]]
    alone = frequency_weighted_segmental_snr(np.r_[CLEAN, silent], np.r_[kept, silent], RATE)
    assert frequency_weighted_segmental_snr(np.r_[CLEAN, silent], np.r_[kept, later], RATE) == alone
    assert math.isnan(frequency_weighted_segmental_snr(silent, OTHER, RATE))


def test_bands_of_the_paper_and_on():
    paper = critical_bands(4000)
    assert len(paper) == 25
    np.testing.assert_allclose(paper[-1], (3597.63, 346.136), rtol=1e-5)
    wide = critical_bands(8000)
    np.testing.assert_array_equal(wide[:25], paper)
    assert wide[-1].sum() > 7000


def test_kurtosis_of_known_powers():
    """A mask that keeps every fourth frame has ln 4; one that keeps some bins, and a level, nothing."""
    even = np.ones((400, 3))
    assert log_kurtosis_ratio(even, even * (np.arange(400) % 4 == 0)[:, None]) == pytest.approx(math.log(4))
    assert log_kurtosis_ratio(even, even * [0.5, 0.0, 1.0]) == pytest.approx(0.0)
    assert math.isnan(log_kurtosis_ratio(even, 0 * even))
    # Powers of Gaussian noise are exponentially distributed: 4! / 2!^2.
    noise = np.sqrt(-np.log1p(-(np.arange(200_000) + 0.5) / 200_000))[:, None]
    assert log_kurtosis_ratio(np.ones_like(noise), noise) == pytest.approx(math.log(6), abs=0.01)
