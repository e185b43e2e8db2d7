"""Several labels explained of one sound: read and classified once, and each as if asked for alone."""

from __future__ import annotations

import pytest
from runtime_sounds import RATE, tone

import earmark
from earmark.runtime.inference.session import Sessions

# The shipped decoder speaks for the predicted class alone.
METHODS = ["prototypes", "segments"]
OPTIONS = {"segments": {"calls": 16}}


@pytest.fixture(scope="module")
def shipped():
    with earmark.load(device="cpu") as explainer:
        yield explainer


@pytest.mark.parametrize("seconds", [0.7, 9.0])
def test_each_is_explained_as_if_alone(shipped, seconds):
    labels = shipped.labels[:2]
    alone = [
        shipped.explain(tone(seconds), RATE, target=one, methods=METHODS, options=OPTIONS) for one in labels
    ]
    together = shipped.explain(tone(seconds), RATE, targets=labels, methods=METHODS, options=OPTIONS)
    assert [one.target for one in together] == labels
    assert together == alone


def test_the_sound_is_classified_once(shipped, monkeypatch):
    run, stages = Sessions.run, []

    def counting(self, stage, *arguments):
        stages.append(stage)
        return run(self, stage, *arguments)

    monkeypatch.setattr(Sessions, "run", counting)
    shipped.explain(tone(), RATE, targets=shipped.labels[:3], methods=["prototypes"])
    assert stages == ["frontend", "classifier"]


def test_what_cannot_be_asked_for_is_refused(shipped, tiny_bundle):
    assert shipped.explain(tone(), RATE, targets=[]) == []
    with pytest.raises(earmark.LabelError, match="snare"):
        shipped.explain(tone(), RATE, targets=["kick", "snar"])
    for asked in ({"targets": "kick"}, {"target": "kick", "targets": ["snare"]}):
        with pytest.raises(TypeError, match="targets="):
            shipped.explain(tone(), RATE, **asked)
    # This bundle's decoder speaks for the predicted class alone.
    with earmark.load(tiny_bundle, "cpu") as explainer, pytest.raises(earmark.TargetError):
        explainer.explain(tone(), RATE, targets=explainer.labels)
