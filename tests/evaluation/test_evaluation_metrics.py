"""The metrics against hand-computed values, quantus, and what must hold of any mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from earmark.evaluation.faithfulness.metrics import METRICS, MaskedScores, entropy, gini, metrics


def judged(full, kept, removed, masks=None, task="single_label"):
    full, kept, removed = (np.asarray(scores, np.float32) for scores in (full, kept, removed))
    masks = np.full((len(full), 2, 3), 0.5, np.float32) if masks is None else np.asarray(masks, np.float32)
    return MaskedScores(full, kept, removed, full.argmax(axis=1), masks, task)


EXAMPLE = judged(
    full=[[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.5, 0.25, 0.25]],
    kept=[[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.5, 0.25, 0.25]],
    removed=[[0.3, 0.4, 0.3], [0.1, 0.7, 0.2], [0.5, 0.3, 0.2]],
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("average_increase", [100.0, 0.0, 0.0]),
        ("average_drop", [0.0, 50.0, 0.0]),
        ("average_gain", [50.0, 0.0, 0.0]),
        ("faithfulness", [0.5, -0.1, 0.0]),
        ("input_fidelity", [1.0, 0.0, 1.0]),
        ("area", [0.5, 0.5, 0.5]),
    ],
)
def test_by_hand(key, expected):
    np.testing.assert_allclose(METRICS[key].compute(EXAMPLE), expected, atol=1e-5)


def test_every_metric_says_what_it_is():
    names = ["AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP", "area"]
    assert [metric.name for metric in METRICS.values()] == names
    assert all(metric.formula for metric in METRICS.values())
    better = {metric.name: metric.better for metric in METRICS.values()}
    assert better["AD"] == better["COMP"] == "lower"
    assert better["area"] is None
    assert {better[name] for name in ("AI", "AG", "FF", "Fid-In", "SPS")} == {"higher"}


def test_several_labels_keep_their_decision_by_the_threshold():
    """Sigmoid scores: another label above the target's is no disagreement, the target below 0.5 is."""
    several = judged(
        full=[[0.9, 0.7], [0.9, 0.7], [0.4, 0.3]],
        kept=[[0.6, 0.8], [0.4, 0.1], [0.2, 0.3]],
        removed=np.zeros((3, 2)),
        task="multi_label",
    )
    np.testing.assert_array_equal(METRICS["input_fidelity"].compute(several), [1, 0, 0])


def scores(count=3, classes=4):
    logits = arrays.arrays(np.float32, (count, classes), elements=st.floats(-20, 20, width=32))
    return logits.map(lambda x: np.exp(x - x.max(1, keepdims=True))).map(
        lambda x: x / x.sum(1, keepdims=True)
    )


masks_of = arrays.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1, width=32))


@given(full=scores(), kept=scores(), removed=scores(), masks=masks_of, reference=st.booleans())
@settings(max_examples=100, deadline=None)
def test_ranges_hold(full, kept, removed, masks, reference):
    one = judged(full, kept, removed, masks)
    for metric in metrics(reference=reference).values():
        values = metric.compute(one)
        assert values.shape == (3,)
        known = values[~np.isnan(values)]
        assert (known >= metric.low - 1e-6).all(), metric.key
        assert (known <= metric.high + 1e-4).all(), metric.key


@given(full=scores(), kept=scores(), masks=masks_of)
@settings(max_examples=50, deadline=None)
def test_increase_drop_and_gain_exclude_each_other(full, kept, masks):
    one = judged(full, kept, kept, masks)
    drop, gain = METRICS["average_drop"].compute(one), METRICS["average_gain"].compute(one)
    assert (drop * gain == 0).all()
    np.testing.assert_array_equal(METRICS["average_increase"].compute(one) == 100, gain > 0)
    same = judged(full, full, full, masks)
    for key in ("average_increase", "average_drop", "average_gain", "faithfulness"):
        np.testing.assert_array_equal(METRICS[key].compute(same), 0)
    np.testing.assert_array_equal(METRICS["input_fidelity"].compute(same), 1)


def test_the_reference_drop_is_that_of_the_recipe():
    """The recipe's own arithmetic, in torch; and its ceiling 100 (1 - 1 / e)."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    full, kept = (rng.dirichlet(np.full(10, 0.3), 50).astype(np.float32) for _ in range(2))
    predictions, theta = torch.softmax(torch.from_numpy(full), 1), torch.softmax(torch.from_numpy(kept), 1)
    target = predictions.argmax(1, keepdim=True)
    p, q = predictions.gather(1, target), theta.gather(1, target)
    expected = (torch.relu(p - q) / (p + 1e-10) * 100).squeeze(1).numpy()
    found = metrics(reference=True)["average_drop"].compute(judged(full, kept, kept))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    certain = judged(np.eye(50)[:1], np.eye(50)[1:2], np.eye(50)[1:2])
    assert metrics(reference=True)["average_drop"].compute(certain)[0] == pytest.approx(63.2, abs=0.02)
    assert METRICS["average_drop"].compute(certain)[0] == pytest.approx(100.0)


MASKS = {
    "grey": np.full((40, 30), 0.3),
    "one cell": np.eye(1, 1200).reshape(40, 30),
    "soft": np.random.default_rng(0).beta(0.3, 1.0, (40, 30)),
    "hard": (np.random.default_rng(1).random((40, 30)) < 0.2).astype(float),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_sparseness_and_complexity_by_an_independent_formula(mask):
    """Gini as the mean absolute difference of all pairs over twice the mean; entropy by scipy."""
    cells = mask.reshape(-1) + 1e-7
    pairs = np.abs(cells[:, None] - cells[None, :]).mean()
    assert gini(mask) == pytest.approx(pairs / (2 * cells.mean()), abs=1e-9)
    assert entropy(mask) == pytest.approx(stats.entropy(mask.reshape(-1)), abs=1e-9)
    assert entropy(mask) <= np.log(mask.size) + 1e-9


def test_an_empty_mask_has_no_complexity():
    assert np.isnan(entropy(np.zeros((3, 3))))
    assert gini(np.zeros((3, 3))) == pytest.approx(0.0)
