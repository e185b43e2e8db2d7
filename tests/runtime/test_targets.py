"""Several labels explained of one sound: read and classified once, and each as if asked for alone."""

import shutil
from dataclasses import replace

import pytest
from changed_bundle import rewrite
from runtime_sounds import RATE, tone

import earmark
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.inference.session import Sessions

METHODS = ["mask", "prototypes", "segments"]
OPTIONS = {"segments": {"calls": 16}}


@pytest.fixture(scope="module")
def predicted_only(tmp_path_factory):
    """The shipped bundle with a decoder that speaks for the predicted class alone."""
    bundle = shutil.copytree(SHIPPED, tmp_path_factory.mktemp("predicted") / "bundle")
    rewrite(bundle, lambda manifest: manifest.update(mask_targets="predicted"))
    with earmark.load(bundle, device="cpu") as explainer:
        yield explainer


@pytest.mark.parametrize("seconds", [0.7, 9.0])
def test_each_is_explained_as_if_alone(shipped, seconds):
    labels = shipped.labels[:2]
    alone = [
        shipped.explain(tone(seconds), RATE, target=one, methods=METHODS, options=OPTIONS) for one in labels
    ]
    together = shipped.explain(tone(seconds), RATE, targets=labels, methods=METHODS, options=OPTIONS)
    assert [one.target for one in together] == labels
    # What was asked differs, what is answered does not.
    assert [replace(one, settings=own.settings) for one, own in zip(together, alone, strict=True)] == alone


def test_the_sound_is_classified_once(shipped, monkeypatch):
    keep, stages = Sessions.keep, []

    def counting(self, stage, *arguments):
        stages.append(stage)
        return keep(self, stage, *arguments)

    monkeypatch.setattr(Sessions, "keep", counting)
    shipped.explain(tone(), RATE, targets=shipped.labels[:3], methods=["prototypes"])
    # The front end is an FFT here.
    assert stages == ["classifier"]


def test_what_cannot_be_asked_for_is_refused(shipped, tiny_bundle):
    assert shipped.explain(tone(), RATE, targets=[]) == []
    with pytest.raises(earmark.LabelError, match="snare"):
        shipped.explain(tone(), RATE, targets=["kick", "snar"])
    for asked in ({"targets": "kick"}, {"target": "kick", "targets": ["snare"]}):
        with pytest.raises(TypeError, match="targets="):
            shipped.explain(tone(), RATE, **asked)


def test_a_method_that_cannot_answer_is_left_out_unless_it_was_named(predicted_only):
    labels = predicted_only.labels[:2]
    results = predicted_only.explain(tone(), RATE, targets=labels)
    predicted = results[0].predictions[0][0]
    for result in results:
        left_out = [
            line for line in result.warnings if line.startswith("mask is left out: the mask can explain")
        ]
        assert (result.mask is None) == (result.target != predicted) == (len(left_out) == 1)
        assert result.prototypes is not None
    assert any(result.mask is None for result in results)
    with pytest.raises(earmark.TargetError, match="the mask can explain"):
        predicted_only.explain(tone(), RATE, targets=predicted_only.labels, methods=["mask", "prototypes"])


def test_many_sounds_for_several_labels(shipped):
    labels = shipped.labels[:2]
    answers = list(shipped.explain_many([tone(), "no such.wav", tone(0.7)], RATE, targets=labels))
    assert [one.ok for one in answers] == [True, True, False, True, True]
    assert [one.target for one in answers if one.ok] == labels * 2
    assert answers[:2] == shipped.explain(tone(), RATE, targets=labels)
