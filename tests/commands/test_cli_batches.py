"""One bad item never ends a batch of `earmark explain`."""

import json
import shutil

from command_line import documents, explain

from earmark.runtime.results.result import Result


def test_a_command_goes_on_after_whatever_a_path_raises(clip, tmp_path, monkeypatch):
    listing = tmp_path / "list"
    names = ["x" * 300 + ".wav", "a\0b.wav", "loop.wav", str(clip)]
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    listing.write_bytes(b"\n".join(name.encode() for name in names))
    monkeypatch.chdir(tmp_path)
    result = explain("--from-file", listing, "--jsonl")
    found = documents(result)
    assert [one["input"] for one in found] == names
    assert [bool(one["error"]) for one in found] == [True, True, True, False]
    assert result.exit_code == 1
    assert "defect" not in result.stderr


def test_what_is_written_can_be_chosen(clip, tmp_path):
    chosen = ("--audio", "clips", "--audio-format", "flac", "--arrays")
    explain(clip, "-o", tmp_path / "out", *chosen, code=0)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"result.json", "arrays.npz", "mask.png", "kept_01.flac"} <= names
    assert not {name for name in names if name.endswith(".wav")}
    assert Result.load(tmp_path / "out").input == str(clip)
    explain(clip, "-o", tmp_path / "out", "--audio", "none", code=0)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", "mask.png"}
    explain(clip, *chosen, code=2, says="--audio goes with -o DIR")


def test_a_result_that_cannot_be_written_is_a_record(clip, tmp_path, monkeypatch):
    other = tmp_path / "other.wav"
    shutil.copy(clip, other)
    save = Result.save

    def failing(self, folder, **how):
        if self.input == str(clip):
            raise OSError(28, "No space left on device", str(folder))
        save(self, folder, **how)

    monkeypatch.setattr(Result, "save", failing)
    found = documents(explain(clip, other, "-o", tmp_path / "out", "--jsonl", code=1))
    assert [bool(one["error"]) for one in found] == [True, False]
    assert "No space left on device" in found[0]["error"]["message"]
    assert len(list((tmp_path / "out").rglob("result.json"))) == 1


def test_a_defect_shows_its_traceback_only_when_asked(clip, monkeypatch):
    def failing(*_, **__):
        raise ZeroDivisionError("here")

    monkeypatch.setattr("earmark.runtime.explainer.explain", failing)
    result = explain(clip, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["results"][0]["error"]["type"] == "UnexpectedError"
    assert "Traceback" not in result.stderr
    monkeypatch.setenv("EARMARK_DEBUG", "1")
    assert "ZeroDivisionError: here" in explain(clip, "--json").stderr


def test_only_the_labels_asked_for_are_shown(clip):
    asked = (clip, "--labels")
    told = explain(*asked, "kick,bell").stdout
    line = next(line for line in told.splitlines() if line.strip().startswith("scores"))
    assert {word for word in line.split() if word.isalpha()} == {"scores", "kick", "bell"}
    (record,) = documents(explain(*asked, "kick,bell", "--windows", "--jsonl"))
    assert {one["label"] for one in record["predictions"]} == {"kick", "bell"}
    assert all(
        {one["label"] for one in window["predictions"]} == {"kick", "bell"}
        for window in record["window_scores"]
    )
    explain(*asked, "kik", code=1, says="did you mean 'kick'")
