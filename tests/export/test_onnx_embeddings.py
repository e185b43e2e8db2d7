"""An embedding beside the scores: prototypes of whole windows, with thousands of labels, several a sound."""

import csv
import json

import numpy as np
import pytest
import soundfile
from command_line import invoke
from onnx_graphs import RATE, tagger

import earmark

COUNT = 2000
LABELS = [f"Genus species{number}_Bird {number}" for number in range(COUNT)]


# In the middle of a band each.
PITCHES = 150 * 25 ** (np.array([2, 6, 10, 14]) / 16)


def tone(number):
    return (0.3 * np.sin(2 * np.pi * PITCHES[number] * np.arange(RATE // 2) / RATE)).astype(np.float32)


def run(*words):
    return invoke(*words, code=0)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A bundle with the sounds of a labels.csv as prototypes."""
    folder = tmp_path_factory.mktemp("tagger")
    path = tagger(folder / "tagger.onnx", COUNT)
    names = folder / "labels.txt"
    names.write_text("\n".join(LABELS), encoding="utf-8")
    command = json.loads(run("inspect", path, "--json").stdout)["command"]
    assert command.endswith("--scores-output scores --feature-map embedding --map-axes c")
    told = {"BUNDLE": folder / "bundle", "LABELS.txt": names, "HZ": RATE}
    run(*(told.get(word, word) for word in command.split()[1:]))
    data = folder / "data"
    data.mkdir()
    with (data / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["clip", "labels"])
        for number, own in enumerate(((0, 7), (1,), (2, 9), (3,))):
            for copy in range(2):
                sound = tone(number) + 0.01 * np.random.default_rng(copy).standard_normal(RATE // 2)
                soundfile.write(data / f"{number}_{copy}.wav", sound, RATE)
                table.writerow([f"{number}_{copy}.wav", ";".join(LABELS[label] for label in own)])
    run("index", folder / "bundle", data, "--audio")
    return folder


def test_the_nearest_windows_are_found_with_all_their_labels(indexed, tmp_path):
    sound = np.concatenate([tone(2), tone(0)])
    with earmark.load(indexed / "bundle", device="cpu") as explainer:
        result = explainer.explain((sound, RATE), target="Bird 9", methods=["prototypes"], hop_s=0.5)
        assert list(result.prototypes) == ["window"]
        matches = result.prototypes["window"]
        # Both windows are looked up; each finds its own.
        found = {(one.clip[0], one.place.start_s, one.place.end_s) for one in matches}
        assert {("2", 0.0, 0.5), ("0", 0.5, 1.0)} <= found
        near = max((one for one in matches if one.clip[0] == "2"), key=lambda one: one.similarity)
        assert set(near.labels) == {LABELS[2], LABELS[9]}
        assert near.similarity > 0.99
        assert (near.start_s, near.end_s, near.fmin_hz, near.fmax_hz) == (0.0, 0.5, 0.0, RATE / 2)
        wave, rate = near.audio()
        assert (wave.shape, rate) == ((1, RATE // 2), RATE)
        channels = result.channels
        assert channels.additive
        assert channels.error < 1e-4
        assert all(one.prototypes for one in channels)
        result.save(tmp_path / "saved")
        loaded = earmark.Result.load(tmp_path / "saved")
        assert loaded.prototypes["window"] == matches
        assert loaded.channels == channels
        assert (tmp_path / "saved" / "prototypes.png").is_file()
        record = json.loads((tmp_path / "saved" / "result.json").read_text())
        assert record["prototypes"]["window"][0]["labels"]
        assert "prototypes" in record["channels"]["channels"][0]


def test_the_commands_know_the_view(indexed, tmp_path):
    clip = tmp_path / "a.wav"
    soundfile.write(clip, tone(1), RATE)
    page = tmp_path / "page.html"
    assert "one view" in run("explain", clip, "-b", indexed / "bundle", "--html", page).stdout
    assert "All of a window (window)" in page.read_text()
    assert "window 8" in run("inspect", indexed / "bundle").stdout
    run("verify", indexed / "bundle")
    held = tmp_path / "held"
    held.mkdir()
    with (held / "labels.csv").open("w") as file:
        file.write(f"clip,labels\na.wav,{LABELS[1]}\nb.wav,{LABELS[7]}\n")
    soundfile.write(held / "a.wav", 0.9 * tone(1), RATE)
    soundfile.write(held / "b.wav", 0.9 * tone(0), RATE)
    told = run("evaluate", "prototypes", indexed / "bundle", held, "--json")
    (row,) = json.loads(told.stdout)["prototypes"]["rows"]
    assert row["view"] == "window"
    assert row["first"]["estimate"] == 1.0
    # A whole window has no other place to be compared with.
    assert not any("drop" in name for name in row)


def test_samples_behind_a_front_end_have_no_rows(tmp_path):
    """A description of samples alone: a map's rows cannot be told by impulses, and nothing is doubted."""
    front = tmp_path / "repeat.toml"
    front.write_text(f'sample_rate = {RATE}\n[samples]\ncount = {RATE // 2}\npad = "repeat"\n')
    path = tagger(tmp_path / "net.onnx", 3)
    edges = ",".join(str(250 * edge) for edge in range(17))
    done = run(
        *("export", path, "-o", tmp_path / "bundle", "--labels", "a,b,c", "--frontend", front),
        *("--task", "multi_label", "--scores", "probabilities", "--scores-output", "scores"),
        *("--feature-map", "spectrogram", "--map-axes", "cft", "--map-bands", edges),
    )
    assert "impulses" not in done.stderr
    with earmark.load(tmp_path / "bundle", device="cpu") as explainer:
        short, whole = tone(1)[: RATE // 4], np.tile(tone(1)[: RATE // 4], 2)
        answers = [explainer.explain((sound, RATE), methods=[]).logits for sound in (short, whole)]
    np.testing.assert_allclose(*answers, atol=1e-5)
