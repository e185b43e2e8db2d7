"""Learning U on maps whose rotation is known, and what purity is."""

import numpy as np
import pytest
from later import later

from earmark.evaluation.prototypes.purity import (
    Cells,
    FeatureMaps,
    purities,
    purity,
    purity_table,
    random_rotation,
    strongest,
)
from earmark.export.training.apex.evidence import ApexEvidence
from earmark.export.training.apex.rotation import learn_rotation, rounds_of
from earmark.export.training.apex.settings import ApexSettings

later("torch")

FRAMES, ROWS = 6, 4


def maps_of(z, rows=ROWS, recordings=None):
    """Z [clips, T, F, C] as feature maps."""
    clips, frames, rows, channels = z.shape
    ends = np.arange(clips + 1)
    cells = {
        "square": Cells(z.reshape(-1, channels), ends * frames * rows),
        "time": Cells(z.mean(axis=2).reshape(-1, channels), ends * frames),
        "frequency": Cells(z.mean(axis=1).reshape(-1, channels), ends * rows),
    }
    return FeatureMaps(cells, np.arange(clips) if recordings is None else recordings, rows)


def sparse(kind, clips, channels, seed):
    """Sources S [clips, T, F, C] >= 0, of which few sound at once, and a rotation Q to hide them by."""
    random = np.random.default_rng(seed)
    shape = (clips, FRAMES * ROWS, channels)
    if kind == "scattered":
        s = random.exponential(1.0, shape) * (random.random(shape) < max(0.05, 1.5 / channels))
    elif kind == "events":
        s = np.zeros(shape)
        for clip in s:
            for channel in random.choice(channels, min(channels, 4), replace=False):
                places = random.choice(len(clip), random.integers(1, 6), replace=False)
                clip[places, channel] = 0.2 + random.exponential(1.0, len(places))
    else:
        # Channels belong to classes, so each sounds in a tenth of the clips, beside faint others.
        s = random.exponential(0.5, shape) * (random.random(shape) < 0.3 / channels)
        belongs = random.random((10, channels)) < max(0.1, 2 / channels)
        for index, clip in enumerate(s):
            own = np.flatnonzero(belongs[index % 10])
            own = own if len(own) else random.choice(channels, 2, replace=False)
            clip[:, own] += random.exponential(1.0, (len(clip), len(own))) * (
                random.random((len(clip), len(own))) < 0.3
            )
    s += 0.01 * np.abs(random.standard_normal(shape))
    q = random_rotation(channels, seed + 100)
    return s.reshape(clips, FRAMES, ROWS, channels).astype(np.float32), q


@pytest.mark.parametrize("kind", ["scattered", "events", "classes"])
@pytest.mark.parametrize(("channels", "clips", "seed"), [(8, 60, 0), (8, 60, 1), (16, 120, 1), (32, 200, 0)])
def test_a_planted_rotation_is_found(kind, channels, clips, seed):
    """Z = Q S: purity comes within 0.02 of the oracle's, U = Q^T, from far below; a random U stays there."""
    s, q = sparse(kind, clips, channels, seed)
    maps = maps_of(s @ q.T)
    u = learn_rotation(maps, ApexSettings())
    found, oracle, raw, chance = (
        purity(maps, "square", one.astype(np.float32), 5)
        for one in (u, q.T, np.eye(channels), random_rotation(channels, 9))
    )
    assert found >= oracle - 0.02
    assert max(raw, chance) < oracle - 0.25
    np.testing.assert_allclose(u @ u.T, np.eye(channels), atol=1e-9)
    assert np.linalg.det(u) == pytest.approx(1.0)


@pytest.mark.parametrize(("kind", "seed"), [("classes", 1), ("events", 1), ("scattered", 0)])
def test_channels_of_very_different_loudness_are_found(kind, seed):
    """Nearly the same where some sources are fifty times as loud as others (0.08 less without polishing)."""
    s, q = sparse(kind, 120, 24, seed)
    s = s * np.exp(np.random.default_rng(seed).normal(0.0, 1.0, 24)).astype(np.float32)
    maps = maps_of(s @ q.T)
    u = learn_rotation(maps, ApexSettings())
    oracle = purity(maps, "square", q.T, 5)
    assert purity(maps, "square", u, 5) >= oracle - 0.03


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "channels", "clips"), [("classes", 64, 400), ("events", 128, 600)])
def test_a_large_planted_rotation_is_found(kind, channels, clips):
    """The same in more channels."""
    s, q = sparse(kind, clips, channels, 0)
    maps = maps_of(s @ q.T)
    u = learn_rotation(maps, ApexSettings())
    oracle = purity(maps, "square", q.T, 5)
    assert purity(maps, "square", u, 5) >= oracle - 0.02


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("view", ["square", "time_frequency"])
def test_top_clips_do_not_depend_on_how_many_are_looked_at_together(block, view):
    """Also with an incomplete last block, recordings that return, and ties: the brute-force answer."""
    random = np.random.default_rng(0)
    z = random.integers(0, 6, (61, FRAMES, ROWS, 5)).astype(np.float32)
    recordings = random.integers(0, 20, 61)
    maps = maps_of(z, recordings=recordings)
    top = strongest(maps, view, np.eye(5, dtype=np.float32), 7, block=block)
    if view == "square":
        scores = z.reshape(61, -1, 5).max(axis=1)
    else:
        scores = (z.mean(axis=2).max(axis=1) + z.mean(axis=1).max(axis=1)) / 2
    for channel in range(5):
        expected, seen = [], set()
        for clip in np.argsort(-scores[:, channel], kind="stable"):
            if recordings[clip] not in seen:
                seen.add(recordings[clip])
                expected.append(clip)
        np.testing.assert_array_equal(top.clips[channel], expected[:7])
        np.testing.assert_allclose(top.scores[channel], scores[expected[:7], channel], rtol=1e-6)


def test_going_on_from_any_round_gives_the_same_u():
    """The state after a round holds all that the next one depends on."""
    s, q = sparse("events", 30, 6, 2)
    maps = maps_of(s @ q.T)
    states, settings = [], ApexSettings(rounds=6, polish=4)
    whole = learn_rotation(maps, settings, on_round=states.append)
    assert len(states) == rounds_of(settings)
    for state in states[:-1]:
        np.testing.assert_array_equal(learn_rotation(maps, settings, state=state), whole)


def test_purity_by_hand():
    """P = Zhat_c / ||Zhat|| where c peaks; of both axes the channel's own part of both vectors."""
    z = np.zeros((1, 2, 2, 2), np.float32)
    z[0, 0, 0], z[0, 1, 1] = (3.0, 4.0), (1.0, 0.0)
    maps = maps_of(z)
    eye = np.eye(2, dtype=np.float32)
    found = {view: purities(maps, view, eye, strongest(maps, view, eye, 2)) for view in maps.views}
    np.testing.assert_allclose(found["square"][:, 0], (0.6, 0.8))
    np.testing.assert_allclose(found["time_frequency"][:, 0], (0.6, 0.8), rtol=1e-6)
    assert np.isnan(found["square"][:, 1]).all()
    turned = np.array(((0.8, -0.6), (0.6, 0.8)), np.float32)
    one = strongest(maps, "square", turned, 1)
    np.testing.assert_allclose(purities(maps, "square", turned, one)[:, 0], (0.8, 1.0), rtol=1e-6)


def test_the_table_has_every_view_part_and_kind():
    """Before, after and random, chosen anew, on each part; with one row only the views that exist."""
    s, q = sparse("events", 40, 8, 0)
    parts = {"train": maps_of(s[:30] @ q.T), "held_out": maps_of(s[30:] @ q.T)}
    table = purity_table(parts, q.T, 5, seed=1)
    assert set(table) == {"square", "time", "frequency", "time_frequency"}
    for part in ("train", "held_out"):
        figures = table["square"][part]
        assert figures["after"] > 0.85 > 0.7 > max(figures["before"], figures["random"])
    flat = FeatureMaps(parts["train"].cells, parts["train"].recordings, 1)
    assert set(purity_table({"train": flat}, q.T, 5, seed=1)) == {"square", "time"}
    with pytest.raises(ValueError, match="frequency does not exist"):
        strongest(flat, "frequency", q.T, 5)


def of_classes(channels, windows, seed):
    """Z = Q S with channels that belong to classes, and what speaks for a window's class, turned alike."""
    s, q = sparse("classes", windows, channels, seed)
    random = np.random.default_rng((seed, 1))
    weights = random.standard_normal((10, channels))
    pooled = s.mean(axis=(1, 2)).astype(np.float64)
    labels = (pooled @ weights.T).argmax(axis=1)
    return maps_of(s @ q.T), ApexEvidence.of(weights[labels] @ q.T, pooled @ q.T), q


def test_what_channels_contribute_sums_to_the_same_and_its_slope_is_right():
    _, evidence, q = of_classes(16, 80, 0)
    for u in (np.eye(16), q.T, random_rotation(16, 5)):
        shares = evidence.shares(u)
        np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-5)
        largest = np.sort(shares, axis=1)[:, -5:]
        listed, others = evidence.listed(u)
        assert listed == pytest.approx(largest.sum(axis=1).mean())
        assert others == pytest.approx((np.abs(shares).sum(axis=1) - np.abs(largest).sum(axis=1)).mean())
        rest, slope = evidence.rest(u.astype(np.float64))
        assert rest == pytest.approx(others, abs=0.02)
        step = 1e-6 * np.random.default_rng(3).standard_normal(u.shape)
        moved = evidence.rest(u + step)[0] - evidence.rest(u - step)[0]
        assert moved == pytest.approx(2.0 * (slope * step).sum(), rel=1e-3)
    # Nothing speaks for any class.
    assert ApexEvidence.of(np.eye(3), -np.eye(3)) is None


def test_gathering_leaves_less_in_other_channels_and_keeps_all_pure():
    maps, evidence, _ = of_classes(24, 150, 0)
    plain = learn_rotation(maps, ApexSettings(), evidence=None)
    u = learn_rotation(maps, ApexSettings(), evidence=evidence)
    # The five largest are the whole sum, and more; the others cancel less.
    assert evidence.listed(u)[0] > 1.0
    assert evidence.listed(u)[1] < 0.9 * evidence.listed(plain)[1]
    before, after = (purity(maps, "square", one.astype(np.float32), 5) for one in (plain, u))
    assert after > before - 0.02
    np.testing.assert_allclose(u @ u.T, np.eye(24), atol=1e-9)
    assert np.linalg.det(u) == pytest.approx(1.0)
    np.testing.assert_array_equal(learn_rotation(maps, ApexSettings(gather=0.0), evidence=evidence), plain)
