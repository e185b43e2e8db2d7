"""Sanity checks of masks: measures against quantus, shuffled weights, and the rows of the report."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from changed_bundle import rewrite
from later import later
from onnx import numpy_helper

import earmark
from earmark.errors import MethodError
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.sanity.changes import changes, layers_of, randomised
from earmark.evaluation.sanity.evaluate import (
    evaluate_sanity,
    overlap,
    rank_correlation,
    relative_change,
    structural_similarity,
)
from earmark.evaluation.settings import SanitySettings
from earmark.evaluation.synthesis.clips import write_folder
from earmark.runtime.opening import open_bundle

quantus = later("quantus")

SHIPPED = Path(earmark.__file__).parent / "runtime" / "shipped" / "bundle"


def masks(seed=0, shape=(40, 33)):
    random = np.random.default_rng(seed)
    one = random.random(shape).astype(np.float32)
    return one, np.clip(one + 0.3 * random.standard_normal(shape), 0, 1).astype(np.float32)


def test_measures_are_those_of_quantus():
    one, other = masks()
    similar = quantus.similarity_func
    assert rank_correlation(one, other) == pytest.approx(
        similar.correlation_spearman(one.ravel(), other.ravel()), abs=1e-9
    )
    assert structural_similarity(one, other) == pytest.approx(_ssim(one, other), abs=1e-6)


def _ssim(one, other):
    """scikit-image's, which quantus calls."""
    from skimage.metrics import structural_similarity as theirs

    return theirs(one.astype(float), other.astype(float), data_range=1.0)


def test_max_sensitivity_of_quantus_is_the_largest_change():
    """quantus asks for explanations of perturbed sounds; here they are the sounds' own magnitudes."""
    one, _ = masks(shape=(1, 50))
    shift = np.float32(0.05) * np.sin(np.arange(50, dtype=np.float32))[None]
    metric = quantus.MaxSensitivity(
        nr_samples=2,
        perturb_func=lambda arr, **_: arr + shift,
        perturb_func_kwargs={},
        abs=False,
        normalise=False,
        return_nan_when_prediction_changes=False,
        disable_warnings=True,
        display_progressbar=False,
    )

    (value,) = metric(
        model=None,
        x_batch=one[None],
        y_batch=np.zeros(1, int),
        a_batch=one[None],
        explain_func=lambda model, inputs, targets, **_: inputs,
    )
    assert value == pytest.approx(relative_change(one, one + shift), rel=1e-5)


def test_measures_at_their_ends():
    one, _ = masks()
    assert rank_correlation(one, one) == pytest.approx(1.0)
    assert rank_correlation(one, 1 - one) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation(one, np.ones_like(one)))
    assert structural_similarity(one, one) == pytest.approx(1.0)
    assert np.isnan(structural_similarity(one[:6], one[:6]))
    assert overlap(one, one) == 1.0
    assert overlap(one, 0 * one) == 0.0
    assert overlap(0 * one, 0 * one) == 1.0
    assert relative_change(one, 2 * one) == pytest.approx(1.0)


def weights(path):
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


def test_layers_are_shuffled_and_nothing_else_is():
    bundle = open_bundle(SHIPPED)
    layers = layers_of(bundle, "classifier")
    assert "head" in layers[0]
    before = weights(SHIPPED / "classifier.onnx")
    with randomised(bundle, "classifier", layers[:2], seed=3) as folder:
        after = weights(folder / "classifier.onnx")
        assert before.keys() == after.keys()
        for name, values in before.items():
            same = np.array_equal(values, after[name])
            assert same == (name not in layers[:2]), name
            np.testing.assert_array_equal(np.sort(values.ravel()), np.sort(after[name].ravel()))
        changed = earmark.load(folder, device="cpu")
        assert changed.methods == [name for name in changed.methods if name != "prototypes"]
    assert not folder.exists()
    assert weights(SHIPPED / "classifier.onnx").keys() == before.keys()


def test_changes_keep_length_and_are_faint():
    random = np.random.default_rng(0)
    sound = (0.3 * np.sin(np.arange(32_000) * 0.2)).astype(np.float32)
    for one in changes(0.064):
        changed = one.apply(sound, 16_000, random)
        assert changed.shape == sound.shape
        assert changed.dtype == np.float32
        aligned = changed[round(one.delay_s * 16_000) :]
        scaled = aligned / np.float32(10 ** (-12 / 20) if "gain" in one.name else 1.0)
        error = np.linalg.norm(scaled - sound[: len(aligned)]) / np.linalg.norm(sound)
        assert error < (0.3 if one.name in {"MP3", "Ogg Vorbis"} else 0.05), one.name


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    write_folder(folder, 98, 1)
    return list_sounds(folder)


def test_the_report_has_a_row_a_check(sounds):
    settings = SanitySettings(clips=4, steps=2)
    explainer = earmark.load(SHIPPED, device="cpu")
    report = evaluate_sanity(explainer, sounds, settings, others=[SHIPPED])
    rows = {(row["check"], row["what"]): row for row in report.table.rows}
    assert report.clips == 4
    # The bundle itself, called another seed: it agrees with itself.
    itself = rows["another seed", "bundle"]
    assert itself["same"] == 1.0
    assert itself["overlap"].estimate == pytest.approx(1.0, abs=1e-6)
    assert itself["worst"] == pytest.approx(0.0, abs=1e-6)
    all_layers = next(row for key, row in rows.items() if key[0] == "random weights" and "top" in key[1])
    everything = [row for key, row in rows.items() if key[0] == "random weights"][-2]
    assert everything["overlap"].estimate < rows["stability", "noise at -40 dB"]["overlap"].estimate
    assert all_layers is not everything
    assert rows["stability", "FLAC, 16 bits"]["overlap"].estimate > 0.95
    assert "check,what,same,rank" in report.table.csv()
    assert report.to_dict()["table"]["rows"][0]["check"] == "reference"


def test_other_labels_are_refused(sounds, tmp_path):
    other = shutil.copytree(SHIPPED, tmp_path / "bundle")
    rewrite(other, lambda manifest: manifest["labels"].__setitem__(0, "gong"))
    with pytest.raises(MethodError, match="other labels or another spectrogram"):
        evaluate_sanity(
            earmark.load(SHIPPED, device="cpu"),
            sounds,
            SanitySettings(clips=2, steps=1),
            others=[other],
        )
