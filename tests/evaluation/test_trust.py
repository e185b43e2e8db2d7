"""How far masks are to be believed: models, their calibration, and what a result says."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import earmark
from earmark.errors import BundleError, DataError
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.settings import TrustSettings
from earmark.evaluation.synthesis.clips import clip_of, write_folder
from earmark.evaluation.trust.calibration import (
    calibration_error,
    cross_fitted,
    fit,
    logistic,
    parts_of,
    ranking,
    ridged,
)
from earmark.evaluation.trust.evaluate import evaluate_trust
from earmark.export.bundle.trust import store_trust
from earmark.runtime.methods.mask.trust import FEATURES, log_odds

SHIPPED = Path(earmark.__file__).parent / "runtime" / "shipped" / "bundle"
RATE = 16_000


def drawn(count=400, seed=0):
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, 3)) * [1.0, 5.0, 0.1] + [2.0, 0.0, 1.0]
    likely = logistic(-1.0 + 1.2 * features[:, 0] - 0.2 * features[:, 1])
    return features, random.random(count) < likely, likely


def test_the_fit_is_that_of_scikit_learn():
    features, holds, _ = drawn()
    scaled = (features - features.mean(0)) / features.std(0)
    inputs = np.concatenate([scaled, np.zeros((2, 3))])
    theirs = LogisticRegression(C=1 / 5.0, tol=1e-10, max_iter=1000)
    theirs.fit(inputs, [*holds, False, True])
    bias, weights = ridged(features, holds, 5.0)
    expected = theirs.predict_proba(scaled)[:, 1]
    np.testing.assert_allclose(logistic(bias + features @ weights), expected, atol=1e-5)


def test_what_tells_nothing_of_new_recordings_moves_no_probability():
    """Noise is left out of the model; what tells is kept, though a little less of it."""
    random = np.random.default_rng(3)
    features = random.standard_normal((240, 4))
    recordings = [str(number % 60) for number in range(240)]
    holds = random.random(240) < 0.9
    bias, weights = fit(features, holds, recordings)
    likely = logistic(bias + features @ weights)
    assert likely.std() < 0.01
    assert likely.mean() == pytest.approx(holds.mean(), abs=0.01)
    told = features[:, 0] > -0.5
    bias, weights = fit(features, told, recordings)
    assert ranking(logistic(bias + features @ weights), told) > 0.98
    assert abs(weights[0]) > 5 * np.abs(weights[1:]).max()


def test_where_all_hold_the_probability_stays_below_one():
    bias, weights = fit(np.zeros((98, 2)), np.ones(98, bool), [str(number) for number in range(98)])
    assert logistic(np.array([bias]))[0] == pytest.approx(0.99, abs=1e-4)
    assert weights.tolist() == [0.0, 0.0]


def test_calibration_error_by_hand_and_of_true_probabilities():
    likely = np.array([0.1, 0.1, 0.9, 0.9])
    holds = np.array([False, True, True, True])
    assert calibration_error(likely, holds, bins=2) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    _, holds, likely = drawn(20_000)
    assert calibration_error(likely, holds) < 0.015
    assert calibration_error(likely**3, holds) > 0.1
    assert ranking(likely, holds) == pytest.approx(roc_auc_score(holds, likely))


def test_parts_with_models_of_their_own_are_ordered_apart():
    """Shares of the other parts: the part in which least holds is expected to have most."""
    holds = np.array([True] * 40 + [True, False] * 20)
    parts = np.repeat([0, 1], 40)
    likely = np.repeat([0.5, 1.0], 40)
    assert ranking(likely, holds) == pytest.approx((40 * 0 + 20 * 20 / 2) / (60 * 20))
    assert ranking(likely, holds, parts) == 0.5
    assert calibration_error(likely, holds, 2) == pytest.approx(0.5)
    # Every bin has as many of either part, and the mean is right.
    assert calibration_error(likely, holds, 2, parts) == pytest.approx(0.0)
    recordings = ["a", "b", "a", "c", "d", "e", "f"]
    assert parts_of(recordings).tolist() == [0, 1, 0, 2, 3, 4, 0]


def test_no_window_is_foretold_by_its_own_recording():
    """Where only the recording tells, held-out probabilities know nothing."""
    random = np.random.default_rng(0)
    features = random.standard_normal((200, 2))
    holds = features[:, 0] > 0
    recordings = [str(number % 10) for number in range(200)]
    assert ranking(cross_fitted(features, holds, recordings), holds) > 0.95
    of_recording = np.eye(10)[np.arange(200) % 10]
    by_name = np.arange(200) % 10 < 5
    assert ranking(cross_fitted(of_recording, by_name, recordings), by_name) <= 0.55


def test_log_odds_are_those_of_the_softmax():
    logits = np.array([2.0, 0.5, -1.0])
    scores = np.exp(logits) / np.exp(logits).sum()
    assert log_odds(logits, 0, "single_label") == pytest.approx(np.log(scores[0] / (1 - scores[0])))
    assert log_odds(logits, 2, "multi_label") == -1.0
    assert log_odds([40.0, 0.0], 0, "single_label") == 12.0


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    write_folder(folder, 99, 2)
    return list_sounds(folder)


def test_a_bundle_is_measured_and_its_results_say_so(sounds, tmp_path):
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    explainer = earmark.load(bundle, device="cpu")
    report = evaluate_trust(explainer, sounds, TrustSettings(conditions=("clean", "noise_6db")))
    assert report.windows == 32
    assert json.loads(json.dumps(report.to_dict()))["spec"]["kept"]["bias"] == report.spec.kept.bias
    assert len(report.known.rows) == 2
    rows = {row["part"]: row for row in report.table.rows}
    for part in ("kept", "removed"):
        assert rows[part]["share"] == np.mean([getattr(one, part) for one in report.records])
    # The records are what rescoring says of the same sounds.
    clean = [one for one in report.records if one.condition == "clean"][:4]
    paths = {clip.name: clip.path for clip in sounds.clips}
    for one in clean:
        measured = explainer.explain(paths[one.clip], methods=["mask"], rescore=True)
        assert measured.target == one.target
        assert (measured.trust.kept, measured.trust.removed) == (one.kept, one.removed)
        assert measured.trust.how == "measured"
        assert measured.trust.error is None
    store_trust(bundle, report.spec, report.bundle_id)
    stored = earmark.load(bundle, device="cpu")
    result = stored.explain(paths[clean[0].clip], methods=["mask"])
    features = np.array(list(clean[0].features.values()))
    for part, model in (("kept", report.spec.kept), ("removed", report.spec.removed)):
        expected = logistic(np.array([model.bias + np.dot(model.weights, features)]))[0]
        assert getattr(result.trust, part) == pytest.approx(expected, abs=1e-3)
    assert result.trust.how == "estimated"
    assert result.to_dict()["trust"]["error"] == round(
        max(report.spec.kept.error, report.spec.removed.error), 6
    )
    result.save(tmp_path / "out")
    assert earmark.Result.load(tmp_path / "out").trust == result.trust
    with pytest.raises(BundleError, match="changed while"):
        store_trust(bundle, report.spec, "2-" + 64 * "0")


def test_models_of_other_features_are_refused(tmp_path):
    from changed_bundle import refused, rewrite

    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    rewrite(bundle, lambda manifest: manifest["trust"]["kept"]["weights"].append(1.0))
    refused(bundle, "evaluate trust --store")
    assert len(FEATURES) == 4


def test_bundles_without_it_say_nothing(tmp_path):
    from changed_bundle import rewrite

    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    rewrite(bundle, lambda manifest: manifest.pop("trust"))
    clip = clip_of("snare", 0, 5_000_001).waveform
    assert earmark.load(bundle, device="cpu").explain(clip, RATE, methods=["mask"]).trust is None


def test_too_few_windows_are_refused(sounds):
    few = TrustSettings(conditions=("clean",))
    with pytest.raises(DataError, match="16 windows are too few"):
        evaluate_trust(earmark.load(SHIPPED, device="cpu"), sounds, few)
