"""`Explainer.detect`: planted events are found at their place and explained for their own label."""

import json

import numpy as np
import pytest
import soundfile
from refusals import refuses
from runtime_sounds import RATE

import earmark
from earmark.evaluation.synthesis.clips import make_clip

# Where events lie in the recording, in samples. The shipped bundle's windows are 2 s, one a second.
EVENTS = (("bell", 4 * RATE), ("clap", 11 * RATE), ("kick", 18 * RATE))
ASKED = {"min_score": 0.8, "leave_score": 0.6, "labels": [label for label, _ in EVENTS]}


def planted(events=EVENTS, seconds=24.0, seed=5):
    """Faint noise with clips of 2 s, each at its sample."""
    wave = np.random.default_rng(seed).normal(0.0, 0.002, round(seconds * RATE)).astype(np.float32)
    for number, (label, at) in enumerate(events):
        clip = make_clip(label, [7, number, seed], snr_db=30.0).waveform
        wave[at : at + len(clip)] += clip
    return wave


@pytest.fixture(scope="module")
def wave():
    return planted()


@pytest.fixture(scope="module")
def found(shipped, wave):
    return shipped.detect(wave, RATE, **ASKED, methods=["mask"])


def test_planted_events_are_detected_where_they_are(found):
    assert [one.label for one in found] == [label for label, _ in EVENTS]
    for detection, (_, at) in zip(found, EVENTS, strict=True):
        begin_s = at / RATE
        assert detection.start_s <= begin_s + 0.5
        assert detection.end_s >= begin_s + 1.5
        assert detection.duration_s <= 4.0
        assert 0.8 <= detection.mean_score <= detection.score <= 1.0
    assert found.summary == "3 detections: bell 1, clap 1, kick 1"
    assert not found.partial
    assert found.ok


def test_what_is_reported_follows_from_the_scores_of_the_windows(found):
    for one in found:
        column = found.windows.scores[
            one.windows.start : one.windows.stop, found.windows.labels.index(one.label)
        ]
        assert one.score == column.max()
        assert one.mean_score == pytest.approx(column.mean(), abs=1e-6)
        assert (column >= np.float32(0.6)).all()
        assert one.clip_start_s == found.windows.start_s[one.windows[0]]
        assert one.clip_end_s == found.windows.end_s[one.windows[-1]]
        # Windows of 2 s, one a second: they share a second, and its middle is the border.
        assert one.start_s == one.clip_start_s + 0.5
        assert one.end_s == one.clip_end_s - 0.5


def test_windows_are_those_that_explain_classifies(shipped, found, wave):
    windows = shipped.explain(wave, RATE, methods=[]).windows
    columns = [windows.labels.index(label) for label in found.windows.labels]
    np.testing.assert_array_equal(found.windows.start_s, windows.start_s)
    np.testing.assert_array_equal(found.windows.end_s, windows.end_s)
    np.testing.assert_allclose(found.windows.scores, windows.scores[:, columns], atol=1e-6)


def test_an_explanation_is_that_of_the_clip_for_the_label_of_its_detection(shipped, found, wave):
    for one in found:
        clip = wave[round(one.clip_start_s * RATE) : round(one.clip_end_s * RATE)]
        alone = shipped.explain(clip, RATE, target=one.label, methods=["mask"])
        assert one.explanation.target == one.label
        np.testing.assert_array_equal(one.explanation.mask.audio, alone.mask.audio)
        assert one.explanation.mask.spans == alone.mask.spans
        assert (one.low_hz, one.high_hz) == alone.mask.band
        assert one.evidence
        assert all(one.start_s <= low < high <= one.end_s for low, high in one.evidence)


def test_a_file_gives_what_its_samples_give(shipped, found, wave, tmp_path):
    path = tmp_path / "20240501_060000.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    read = shipped.detect(path, **ASKED, methods=[])
    assert [(one.label, one.start_s, one.end_s) for one in read] == [
        (one.label, one.start_s, one.end_s) for one in found
    ]
    assert read.input == str(path)
    assert read.recorded_at.isoformat() == "2024-05-01T06:00:00"
    assert {one.id for one in read}.isdisjoint({one.id for one in found})
    assert all(one.explanation is None and one.evidence == () for one in read)


def test_detections_are_handed_out_as_they_end_and_then_not_kept(shipped, found, wave):
    given, heights = [], []
    again = shipped.detect(
        wave,
        RATE,
        **ASKED,
        methods=["mask"],
        on_detection=lambda detection, clip: given.append((detection, clip)),
        progress=lambda done_s, of_s: heights.append((done_s, of_s)),
    )
    assert [one for one, _ in given] == list(found)
    assert all(one.explanation is None for one in again)
    for one, clip in given:
        start, end = round(one.clip_start_s * RATE), round(one.clip_end_s * RATE)
        np.testing.assert_array_equal(clip.samples, wave[None, start:end])
    assert heights == [(end_s, 24.0) for end_s in found.windows.end_s]


@pytest.mark.parametrize("seconds", [0.05, 1.0, 2.0, 2.015])
def test_sound_of_one_window_is_one_detection_of_all_of_it(shipped, seconds):
    clip = np.pad(make_clip("bell", [7, 0, 5], snr_db=30.0).waveform, (0, 2 * RATE))[: round(seconds * RATE)]
    detections = shipped.detect(clip, RATE, min_score=0.0, labels=["bell"], methods=[])
    assert [(one.start_s, one.end_s, one.windows) for one in detections] == [
        (0.0, len(clip) / RATE, range(1))
    ]


def test_nothing_detected_is_said_with_how_near_it_came(shipped, wave):
    nothing = shipped.detect(wave[: 3 * RATE], RATE, min_score=1.0, labels=["bell", "tom"])
    assert len(nothing) == 0
    assert list(nothing) == []
    assert nothing.ok
    highest = nothing.windows.scores.max()
    assert nothing.summary.startswith(f"nothing detected: the highest score is {highest:.3f}, of '")
    assert nothing.to_dict()["detections"] == []


def test_windows_may_lie_anywhere(shipped, wave):
    apart = shipped.detect(wave, RATE, labels=["bell"], hop_s=2.0, methods=[])
    assert np.diff(apart.windows.start_s).tolist() == [2.0] * 11
    [bell] = apart
    assert (bell.start_s, bell.end_s) == (4.0, 6.0)
    near = shipped.detect(wave, RATE, labels=["bell"], hop_s=0.25, methods=[])
    assert len(near.windows) == 89


def test_temperature_and_sensitivity_change_scores_and_are_refused_where_they_cannot(shipped, wave):
    plain = shipped.detect(wave[: 8 * RATE], RATE, methods=[])
    warm = shipped.detect(wave[: 8 * RATE], RATE, temperature=4.0, methods=[])
    odds = np.log(plain.windows.scores.astype(np.float64))
    expected = np.exp(odds / 4.0) / np.exp(odds / 4.0).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(warm.windows.scores, expected, atol=1e-5)
    refuses(earmark.SettingsError, "labels exclude each other", shipped.detect, wave, RATE, sensitivity=1.2)


def test_sensitivity_moves_the_sigmoid_of_several_labels(variant):
    explainer = variant(task="multi_label")
    noise = np.random.default_rng(1).normal(0.0, 0.1, 3 * RATE).astype(np.float32)
    plain, moved = (explainer.detect(noise, RATE, sensitivity=how, methods=[]) for how in (1.0, 1.1))
    logits = np.log(plain.windows.scores) - np.log1p(-plain.windows.scores.astype(np.float64))
    np.testing.assert_allclose(moved.windows.scores, 1.0 / (1.0 + np.exp(-logits - 1.0)), atol=1e-4)


def test_unknown_labels_are_named_with_the_nearest(shipped, wave):
    for settings in ({"labels": ["bel"]}, {"min_score": {"bel": 0.5}}, {"leave_score": {"bel": 0.1}}):
        with pytest.raises(earmark.LabelError, match="no label 'bel'; did you mean 'bell'"):
            shipped.detect(wave, RATE, **settings)


def test_a_half_of_a_label_will_do_where_no_other_has_it(variant):
    labels = ["Turdus merula_Blackbird", "Turdus merula_Amsel", "Strix aluco_Tawny Owl"]
    explainer = variant(labels=labels)
    noise = np.random.default_rng(1).normal(0.0, 0.1, RATE).astype(np.float32)
    found = explainer.detect(noise, RATE, min_score=0.0, labels=["Tawny Owl", "Blackbird"], methods=[])
    assert found.windows.labels == (labels[0], labels[2])
    assert explainer.explain(noise, RATE, target="Strix aluco", methods=[]).target == labels[2]
    with pytest.raises(earmark.LabelError, match="'Turdus merula' is a half of 2 labels"):
        explainer.detect(noise, RATE, labels=["Turdus merula"])
    with pytest.raises(earmark.LabelError, match="did you mean 'Strix aluco_Tawny Owl'"):
        explainer.detect(noise, RATE, labels=["Tawny Owls"])


def test_what_cannot_be_explained_is_said_and_the_rest_goes_on(explainer):
    # The decoder of the tiny bundle speaks for the predicted class; low scores belong to others, too.
    noise = np.random.default_rng(1).normal(0.0, 0.1, RATE).astype(np.float32)
    first, second = (label for label, _ in explainer.explain(noise, RATE, methods=[]).predictions[:2])
    named = explainer.detect(noise, RATE, min_score=0.0, labels=[first, second], methods=["mask"])
    by_label = {one.label: one for one in named}
    assert by_label[first].explanation.mask is not None
    assert by_label[second].explanation is None
    assert "trained for the predicted class" in by_label[second].warnings[0]
    [default] = explainer.detect(noise, RATE, min_score=0.0, labels=[second])
    assert default.explanation.mask is None
    assert default.explanation.target == second
    assert any("mask is left out" in line for line in default.explanation.warnings)


def test_a_detection_of_more_than_a_minute_is_explained_around_its_peak(variant):
    explainer = variant()
    noise = np.random.default_rng(1).normal(0.0, 0.1, 90 * RATE).astype(np.float32)
    clips = []
    [one] = explainer.detect(
        noise,
        RATE,
        min_score=0.0,
        labels=["whistle"],
        methods=[],
        on_detection=lambda _, clip: clips.append(clip),
    )
    assert (one.start_s, one.end_s) == (0.0, 90.0)
    [clip] = clips
    windows = explainer.detect(noise, RATE, labels=["whistle"], methods=[]).windows
    peak_s = windows.start_s[int(windows.scores.argmax())]
    assert clip.start_s <= peak_s < clip.end_s
    assert 29.0 <= clip.end_s - clip.start_s <= 60.0
    start, end = round(clip.start_s * RATE), round(clip.end_s * RATE)
    np.testing.assert_array_equal(clip.samples[0], noise[start:end])
    assert (one.clip_start_s, one.clip_end_s) == (clip.start_s, clip.end_s)


def test_a_deadline_leaves_what_was_classified(shipped, wave):
    asked = []

    def cancel():
        asked.append(0)
        return len(asked) > 3

    part = shipped.detect(wave, RATE, labels=["bell"], methods=[], cancel=cancel)
    assert part.partial
    assert 4 <= len(part.windows) < 23
    assert [one.label for one in part] == ["bell"]
    assert part.warnings[-1].startswith("partial: it was cancelled when ")
    whole = shipped.detect(wave, RATE, labels=["bell"], methods=[])
    np.testing.assert_array_equal(part.windows.scores, whole.windows.scores[: len(part.windows)])
    assert not whole.partial


def test_a_table_of_pandas(found):
    pandas = pytest.importorskip("pandas")
    table = found.to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    assert table["label"].tolist() == [one.label for one in found]
    assert table["start_s"].tolist() == [one.start_s for one in found]
    assert set(table["input"]) == {"the array"}


def test_what_is_saved_is_read_again(found, tmp_path):
    folder = tmp_path / "out"
    for _ in range(2):
        found.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "detections.json",
        "explanations",
        "windows.npz",
    ]
    again = earmark.Detections.load(folder)
    assert again == found
    assert [one.explanation.mask.audio.shape for one in again] == [
        one.explanation.mask.audio.shape for one in found
    ]
    assert again.timings.keys() == found.timings.keys()
    kept = sorted(path.parent.name for path in folder.glob("explanations/*/kept.wav"))
    assert kept == [f"{number:05d}_{one.id}" for number, one in enumerate(found)]
    document = json.loads((folder / "detections.json").read_text(encoding="utf-8"))
    assert document["schema_version"] == 1
    assert [one["explanation"]["target"] for one in document["detections"]] == [one.label for one in found]


def test_files_of_others_stay_and_damage_is_named(found, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    refuses(earmark.WriteError, "was not written by earmark", found.save, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    folder = tmp_path / "out"
    found.save(folder)
    (folder / "mine.csv").write_text("", encoding="utf-8")
    refuses(earmark.WriteError, r"holds mine\.csv", found.save, folder)
    refuses(earmark.DataError, "No such file", earmark.Detections.load, tmp_path)
    (folder / "windows.npz").write_bytes(b"PK")
    with pytest.raises(earmark.DataError, match=r"windows\.npz: holds no arrays that can be read"):
        earmark.Detections.load(folder)
    record = json.loads((folder / "detections.json").read_text(encoding="utf-8"))
    found.save(folder.with_name("again"))
    # What would be an error only when it is saved or shown.
    for name, value, told in (("hop_s", "x", "settings, hop_s: Expected"), ("min_s", float("nan"), "NaN")):
        text = json.dumps(record | {"settings": record["settings"] | {name: value}})
        (folder.with_name("again") / "detections.json").write_text(text, encoding="utf-8")
        refuses(earmark.DataError, told, earmark.Detections.load, folder.with_name("again"))
    record["detections"][0]["id"] = "../../elsewhere"
    (folder.with_name("again") / "detections.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(earmark.DataError, match="is no id of a detection"):
        earmark.Detections.load(folder.with_name("again"))
    (folder / "detections.json").write_text('{"schema_version": 99}', encoding="utf-8")
    refuses(earmark.DataError, "newer earmark", earmark.Detections.load, folder)


@pytest.mark.parametrize("level", ["window", "recording", "none"])
def test_explanations_have_the_level_of_the_recording(variant, level):
    """The clip is quiet and the rest of the recording is loud: its windows score as they do there."""
    explainer = variant(level="peak")
    random = np.random.default_rng(4)
    wave = random.normal(0.0, 0.01, 6 * RATE).astype(np.float32)
    wave[3 * RATE :] *= 40.0
    scores = explainer.explain(wave, RATE, methods=[], hop_s=1.0, level=level).windows.scores
    # A label that is clearest in one of the quiet windows.
    label = int(np.flatnonzero(scores.argmax(axis=0) < 3)[0])
    at = int(scores[:, label].argmax())
    threshold = float(scores[at, label]) - 1e-6
    found = explainer.detect(
        wave,
        RATE,
        min_score=threshold,
        leave_score=threshold,
        labels=[explainer.labels[label]],
        hop_s=1.0,
        level=level,
        methods=["segments"],
        options={"segments": {"calls": 20}},
    )
    np.testing.assert_allclose(found.windows.scores[:, 0], scores[:, label], atol=1e-6)
    [one] = found
    assert one.windows == range(at, at + 1)
    np.testing.assert_allclose(one.explanation.windows.scores, scores[at : at + 1], atol=1e-6)
