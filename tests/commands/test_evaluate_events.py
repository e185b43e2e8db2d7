"""`earmark evaluate BUNDLE DATA --events`: localisers of every kind in one table, over the shipped bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
from class_folders import write_clips
from command_line import invoke

import earmark
from earmark.errors import DataError
from earmark.evaluation.data.events import read_events
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.localisation.evaluate import judge_localisation, segment_edges, segment_labels
from earmark.evaluation.localisation.localisers import Importance, LocalisationTask, available, task_of
from earmark.evaluation.settings import LocalisationSettings
from earmark.evaluation.statistics import roc_auc
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import SHIPPED

QUICK = ["mask", "mask_alone", "channels", "prototypes_time", "occlusion_500ms", "energy", "random"]


@pytest.fixture(scope="module")
def explainer():
    return earmark.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two clips each of three instruments in soft noise, and where their hits lie."""
    root = tmp_path_factory.mktemp("events")
    write_clips(root / "data", ("bell", "snare", "cowbell"), 77, background="pink", snr_db=20.0)
    (root / "data" / "events.csv").rename(root / "events.csv")
    return root


def evaluate(folder, *words, events="events.csv", **more):
    asked = ("evaluate", "events", SHIPPED, folder / "data", "--events", folder / events)
    return invoke(*asked, *words, **more)


def test_the_table_holds_every_localiser_and_the_json_its_intervals(folder, tmp_path):
    chosen = [word for name in QUICK for word in ("-m", name)]
    records = tmp_path / "records.jsonl"
    document = json.loads(evaluate(folder, *chosen, "--json", "--records", str(records), code=0).stdout)
    rows = {row["method"]: row for row in document["table"]["rows"]}
    assert set(rows) == set(QUICK)
    assert document["judged"] == 6
    for row in rows.values():
        assert 0.0 <= row["auc"]["estimate"] <= 1.0
        assert row["clips"] == 6
        assert row["seconds"] >= 0
    # In a quiet background the events are what is loud, and what the model heard.
    assert rows["energy"]["auc"]["estimate"] > 0.9
    assert rows["mask"]["auc"]["estimate"] > 0.8
    assert rows["energy"]["calls"] == 0
    assert rows["occlusion_500ms"]["calls"] > 4
    assert len(records.read_text().splitlines()) == 6 * len(QUICK)


def test_segments_find_the_event_in_the_same_table(folder):
    result = evaluate(
        folder, "-m", "segments", "-m", "random", "--calls", "100", "--limit", "2", "--json", code=0
    )
    rows = {row["method"]: row for row in json.loads(result.stdout)["table"]["rows"]}
    assert rows["segments"]["auc"]["estimate"] > 0.8
    assert 16 <= rows["segments"]["calls"] <= 100


def test_text_for_people_and_the_references_rule(folder):
    result = evaluate(folder, "-m", "energy", "--rule", "overlap90", "--correct-only", code=0)
    assert "AUC" in result.stdout
    assert "overlap90" in result.stdout
    assert "energy" in result.stdout


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["-m", "guess"], 2, "'guess' is not one of"),
        (["--calls", "3"], 2, "3 is not in the range"),
        (["--fold", "9"], 1, "no clip of fold 9"),
        (["--segment-seconds", "60"], 1, "60"),
    ],
)
def test_wrong_usage_is_said(folder, more, code, says):
    evaluate(folder, *more, code=code, says=says)


@pytest.mark.parametrize("option", ["--csv", "--records"])
def test_the_data_are_never_replaced(folder, option):
    """The table of events is meant for --events."""
    table, sound = folder / "events.csv", next((folder / "data").rglob("*.flac"))
    before = table.read_bytes(), sound.read_bytes()
    for path in (table, sound):
        evaluate(folder, option, path, code=2, says="is part of the data, and would be replaced")
    assert (table.read_bytes(), sound.read_bytes()) == before


def test_a_sub_command_has_no_options_but_its_own(folder, tmp_path):
    """What another question needs is no option here."""
    data = str(folder / "data")
    for question, option in (
        ("masks", ["--calls", "100"]),
        ("events", ["--domain", "audio"]),
        ("events", ["--threshold", "0.2"]),
        ("prototypes", ["--area", "0.2"]),
    ):
        invoke("evaluate", question, SHIPPED, data, *option, code=2, says=("No such option", option[0]))
    invoke("evaluate", "events", SHIPPED, data, code=2, says="events.csv is not there")


def test_strict_stops_at_the_first_clip_that_is_left_out(explainer, folder):
    class Refuses:
        name = "refuses"

        def __call__(self, task: LocalisationTask) -> Importance:
            raise DataError("not this clip")

    clips = read_events(folder / "events.csv", list_sounds(folder / "data"), explainer.labels).clips
    localisers = {"energy": available(explainer)["energy"], "refuses": Refuses()}
    assert len(judge_localisation(explainer, clips, localisers).left_out) == len(clips)
    with pytest.raises(DataError, match="not this clip"):
        judge_localisation(explainer, clips, localisers, LocalisationSettings(strict=True))


def test_bad_events_are_one_line(folder):
    (folder / "bad.csv").write_text("clip,label,start_s,end_s\nbell/1-0-A.flac,bell,0.1,99\n")
    evaluate(folder, events="bad.csv", code=1, says="beyond the clip")


def test_overlapping_events_are_allowed_and_said(folder):
    lines = "clip,label,start_s,end_s", "bell/1-0-A.flac,bell,0.1,0.5", "bell/1-0-A.flac,bell,0.3,0.7\n"
    (folder / "overlapping.csv").write_text("\n".join(lines))
    evaluate(folder, "-m", "energy", events="overlapping.csv", code=0, says="1 events overlap")


def test_perfect_and_inverted_localisers_frame_the_table(explainer, folder):
    sounds = list_sounds(folder / "data")
    clips = read_events(folder / "events.csv", sounds, explainer.labels).clips

    class Oracle:
        def __init__(self, name, sign):
            self.name, self.sign = name, sign

        def __call__(self, task: LocalisationTask) -> Importance:
            clip = clips[self.count]
            self.count += 1
            return Importance(self.sign * segment_labels(clip.events, task.edges).astype(float))

        count = 0

    found = judge_localisation(
        explainer, clips, {"knows": Oracle("knows", 1.0), "inverts": Oracle("inverts", -1.0)}
    )
    assert found.interval("knows").estimate == 1.0
    assert found.interval("knows", "precision").estimate == 1.0
    assert found.interval("inverts").estimate == 0.0


def test_a_task_scores_short_clips_as_the_runtime_does(explainer):
    clip = make_clip("bell", 5, seconds=1.0)
    edges = segment_edges(1.0)
    task, predicted = task_of(explainer, clip.waveform, clip.sample_rate, 0, edges)
    result = explainer.explain(clip.waveform, clip.sample_rate, methods=[])
    assert explainer.labels[predicted] == result.predictions[0][0]
    score = task.probabilities(task.waveform[None])[0]
    assert score == pytest.approx(dict(result.predictions)[explainer.labels[0]], abs=1e-4)


def test_sound_longer_than_a_window_is_refused_and_silence_gives_zeros(explainer):
    with pytest.raises(DataError, match="longer than the model's window"):
        task_of(explainer, np.zeros(16000 * 9, np.float32), 16000, 0, segment_edges(9.0))
    task, _ = task_of(explainer, np.zeros(16000, np.float32), 16000, 0, segment_edges(1.0))
    localisers = available(explainer)
    for name in ("energy", "mask", "occlusion_100ms"):
        importance = localisers[name](task).importance
        assert importance.shape == (10,)
        assert np.isfinite(importance).all()


def test_random_is_chance_over_many_clips_and_seeded(explainer):
    random = available(explainer)["random"]
    noise = np.random.default_rng(0)
    aucs = []
    for _ in range(200):
        task = LocalisationTask(
            explainer, noise.standard_normal(16000).astype(np.float32), 0, segment_edges(1.0)
        )
        first = random(task).importance
        assert np.array_equal(first, random(task).importance)
        aucs.append(roc_auc([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], first))
    assert abs(np.mean(aucs) - 0.5) < 0.06
