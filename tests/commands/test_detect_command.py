"""`earmark detect`: tables, clips, resuming, refusals."""

import csv
import json
import re
import shutil
from pathlib import Path

import crowsetta
import numpy as np
import pytest
import soundfile
from command_line import invoke
from detect_field import EXPECTED, RATE, detect, found, ledger, plant, table
from PIL import Image

import earmark
from earmark.commands.long_run.ledger import LEDGER
from earmark.runtime.audio.listing import list_sound_files
from earmark.runtime.detections.tables.row import DetectionRow
from earmark.runtime.explainer import SHIPPED


def test_tables_and_clips(whole, field):
    done, out = whole
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("3 recordings, 45.0 s of sound, 3 detections: bell 1, clap 1, kick 1\n")
    rows = table(out)
    assert found(rows) == EXPECTED
    for row, (_, at) in zip(rows, [("bell", 3), ("kick", 10), ("clap", 6)], strict=True):
        assert float(row["start_s"]) < at + 1 < float(row["end_s"])
        assert float(row["score"]) >= 0.8
        assert 0 <= float(row["low_hz"]) < float(row["high_hz"]) <= RATE / 2
        seconds = float(row["clip_end_s"]) - float(row["clip_start_s"])
        for name in ("clip", "kept_clip"):
            info = soundfile.info(out / row[name])
            assert (info.samplerate, info.format, info.subtype) == (RATE, "FLAC", "PCM_16")
            assert info.duration == pytest.approx(seconds, abs=1e-3)
        # The clip is that stretch of the recording.
        sound, _ = soundfile.read(row["file"], dtype="float32")
        clip, _ = soundfile.read(out / row["clip"], dtype="float32")
        start = round(float(row["clip_start_s"]) * RATE)
        np.testing.assert_allclose(clip, sound[start : start + len(clip)], atol=1e-4)
        # The bar of colours beside the spectrogram has no steps.
        picture = np.asarray(Image.open(out / row["picture"]).convert("RGB"), dtype=int)
        assert np.abs(np.diff(picture[78:362, 888], axis=0)).max() <= 12
    assert rows[0]["start_time"].startswith("2024-05-01T06:00:0")
    # The tree of the input, in other people's readers.
    one = out / "north/20240501_060000.selections.txt"
    boxes = crowsetta.formats.bbox.Raven.from_file(one).to_bbox()
    assert [box.label for box in boxes] == ["bell", "kick"]
    labels = crowsetta.formats.bbox.AudBBox.from_file(out / "south/20240501_060000.labels.txt").to_bbox()
    assert [(box.label, box.onset) for box in labels] == [("clap", float(rows[2]["start_s"]))]
    assert not (out / "north/20240501_070000.selections.txt").exists()
    of_all = (out / "detections.selections.txt").read_text().splitlines()
    assert float(of_all[3].split("\t")[3]) == 30.0 + float(rows[2]["start_s"])
    # What was detected nowhere is said, too.
    recordings = list(csv.DictReader((out / "recordings.csv").open()))
    assert [(row["status"], row["detections"]) for row in recordings] == [("done", n) for n in "201"]
    # Sound of the output is no input; what lies beside it is.
    beside = out / "north/20240501_060000/mine.wav"
    shutil.copy(field / "north/20240501_060000.wav", beside)
    assert list_sound_files(out.parent).files == [beside]
    beside.unlink()


def test_a_recording_that_fails_at_its_end_leaves_no_files(tmp_path):
    path = plant(tmp_path / "in/a.wav", [("bell", 3)], seconds=60)
    sound, _ = soundfile.read(path, dtype="float32")
    sound[-5] = np.nan
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    words = (path.parent, "-o", tmp_path / "out", "--clips", "--html", tmp_path / "page.html")
    detect(*words, code=1, says="holds NaN at")
    left = {path.name for path in (tmp_path / "out").rglob("*")}
    assert left == {"detections.csv", "recordings.csv", LEDGER, ".run.lock", "report_parts"}


def test_the_same_as_in_python(field):
    path = field / "north/20240501_060000.wav"
    document = json.loads(detect(path, "--jsonl", "--explain", "mask").stdout)
    expected = earmark.load(SHIPPED, device="cpu").detect(path, min_score=0.8, methods=["mask"])
    assert document["input"] == str(path)
    assert len(document["detections"]) == len(expected) == 2
    for one, other in zip(document["detections"], expected, strict=True):
        assert (one["label"], one["start_s"], one["end_s"]) == (other.label, other.start_s, other.end_s)
        assert one["explanation"]["mask"] == other.explanation.mask.to_dict()
    bare = json.loads(detect(path, "--json", "--explain", "none", "--jobs", 2).stdout)
    assert bare["failed"] == 0
    assert [one["explanation"] for one in bare["results"][0]["detections"]] == [None, None]


def test_for_a_person_and_of_a_pipe(field):
    sound = (field / "south/20240501_060000.wav").read_bytes()
    demo = invoke("detect", field / "north/20240501_070000.wav")
    assert "no bundle was named, so the shipped demo answered" in demo.stderr
    lines = detect("-", field / "north/20240501_070000.wav", input=sound, code=0).stdout.splitlines()
    assert lines[0] == "stdin  15.00 s, 1 detection: clap 1"
    assert lines[2].endswith("15.00 s, nothing detected")


def test_resume_does_what_is_left_and_nothing_twice(field, tmp_path):
    mine, out = tmp_path / "field", tmp_path / "out"
    shutil.copytree(field, mine)
    (mine / "south/broken.wav").write_text("no sound")
    (tmp_path / "out.labels.txt").write_text("mine")
    detect(mine / "gone.wav", "-o", out, "--explain", "none", code=1, says="gone.wav does not exist")
    detect(mine / "gone.wav", "-o", out, "--explain", "none", "--resume", code=1)
    assert (tmp_path / "out.labels.txt").read_text() == "mine"
    shutil.rmtree(out)
    first = detect("-r", mine, "-o", out, "--explain", "none", code=1, says="broken.wav is not a sound")
    assert "1 failed (see recordings.csv)" in first.stdout
    assert found(table(out)) == EXPECTED
    before = (out / LEDGER).read_bytes()
    refused = detect("-r", mine, "-o", out, "--explain", "none")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "holds an earlier run: add --resume" in refused.stderr
    again = detect("-r", mine, "-o", out, "--explain", "none", "--resume")
    assert (again.exit_code, again.stdout) == (1, first.stdout)
    assert (out / LEDGER).read_bytes() == before
    # A recording that is new, one that has changed, and formats that were not asked for then.
    plant(mine / "south/new.wav", [("bell", 4)], seed=7)
    plant(mine / "north/20240501_070000.wav", [("kick", 4)], seed=8)
    (mine / "south/broken.wav").unlink()
    detect("-r", mine, "-o", out, "--explain", "none", "--resume", "--format", "csv,birdnet", code=0)
    assert (out / LEDGER).read_bytes().startswith(before)
    assert [Path(entry["file"]).name for entry in ledger(out)[4:]] == ["20240501_070000.wav", "new.wav"]
    assert sorted(found(table(out))) == sorted(
        [*EXPECTED, ("20240501_070000", "north", "kick"), ("new", "south", "bell")]
    )
    assert len((out / "detections.birdnet.csv").read_text().splitlines()) == 6
    words = ("-r", mine, "-o", out, "--explain", "none", "--resume", "--hop", 0.5)
    detect(*words, code=1, says="hop_s was not given there and is 0.5 here")


def test_clips_of_a_recording_that_changed_go(field, tmp_path):
    mine, out = tmp_path / "field", tmp_path / "out"
    path = plant(mine / "a.wav", [("bell", 3), ("kick", 10)])
    detect(mine, "-o", out, "--clips", code=0)
    old = {row["clip"] for row in table(out)}
    plant(path, [("clap", 6)], seed=3)
    detect(mine, "-o", out, "--clips", "--resume", code=0)
    names = {row[name] for row in table(out) for name in ("clip", "kept_clip", "picture")}
    assert {path.relative_to(out).as_posix() for path in (out / "a").iterdir()} == {*names, "a/clips.json"}
    assert not names & old
    detect(mine, "-o", out, "--clips", "--resume", "--format", "audacity", code=0)
    plant(path, [("bell", 4)], seed=4)
    detect(mine, "-o", out, "--clips", "--resume", "--format", "audacity", code=0)
    assert (out / "a.labels.txt").read_text().splitlines()[0].endswith("bell")
    path.write_text("no sound any more")
    detect(mine, "-o", out, "--clips", "--resume", code=1)
    assert {one.name for one in out.iterdir()} == {
        ".run.lock", "run.jsonl", "recordings.csv", "detections.csv",
    }  # fmt: skip
    assert table(out) == []


def test_labels_of_others_stay(field, tmp_path):
    mine = shutil.copytree(field / "north", tmp_path / "field")
    (mine / "20240501_060000.labels.txt").write_text("0\t1\tmine\n")
    detect(
        mine, "-o", mine, "--format", "audacity", code=1, says="20240501_060000.labels.txt: is there already"
    )
    assert (mine / "20240501_060000.labels.txt").read_text() == "0\t1\tmine\n"
    # Beside the recordings otherwise.
    detect(mine, "-o", mine, "--format", "csv", "--explain", "none", code=0)
    assert found(table(mine)) == [("20240501_060000", "field", "bell"), ("20240501_060000", "field", "kick")]


def test_one_name_in_two_runs_of_two_folders(field, tmp_path):
    out = tmp_path / "out"
    detect(field / "north", "-o", out, "--clips", code=0)
    detect(field / "south", "-o", out, "--clips", "--resume", code=0)
    rows = table(out)
    assert sorted(row["label"] for row in rows) == ["bell", "clap", "kick"]
    assert len({Path(row["clip"]).parent for row in rows}) == 2
    assert all((out / row["clip"]).is_file() for row in rows)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--min-score", "1.5"], 2, "1.5 is not in the range"),
        (["--labels", "bel"], 2, "did you mean 'bell'"),
        (["--labels", "bell", "--labels-from", "list.txt"], 2, "--labels goes without --labels-from"),
        (["--scores", "missing.csv"], 2, "missing.csv"),
        (["--scores", "bad.csv"], 2, "its columns are a, b"),
        (["--explain", "masks"], 2, "'masks' is not one of mask"),
        (["--explain", "none,mask"], 2, "none goes alone"),
        (["--explain", "components"], 2, "this bundle does not have it; it has mask"),
        (["--calls", "20"], 2, "--calls is an option of the method segments: add --explain segments"),
        (["--explain", "segments", "--calls", "1"], 2, "--calls.* 1 "),
        (["--hop", "90"], 2, "hop_s is 90: windows of .* would leave gaps"),
        (["--sensitivity", "1.2"], 2, "sensitivity is 1.2"),
        (["--format", "csv,xls"], 2, "'xls' is not one of csv, raven"),
        (["--format", "csv"], 2, "--format goes with -o DIR"),
        (["--clips"], 2, "--clips goes with -o DIR"),
        (["--resume"], 2, "--resume goes with -o DIR"),
        (["-o", "out", "--json"], 2, "--json goes without -o"),
        (["-o", "out", "--clip-format", "wav"], 2, "--clip-format goes with --clips"),
        (["-o", "there.txt/out"], 1, "there.txt.*: cannot be written"),
        (["-o", "full"], 1, "detections.csv: is there already"),
        (["gone.wav"], 1, "gone.wav does not exist"),
    ],
)
def test_refusals_are_one_line(field, tmp_path, monkeypatch, arguments, code, line):
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("bell\n")
    Path("bad.csv").write_text("a,b\n1,2\n")
    Path("there.txt").touch()
    Path("full").mkdir()
    Path("full/detections.csv").write_text("mine")
    command = ["detect", "-b", SHIPPED, *arguments, field / "north/20240501_070000.wav"]
    done = invoke(*command, code=code)
    assert re.search(line, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert Path("full/detections.csv").read_text() == "mine"


def test_the_page_names_every_column():
    page = (Path(__file__).parents[2] / "docs/detect_command.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page.split("| column |")[1], re.MULTILINE)
    assert [name for cell in cells for name in re.findall(r"\w+", cell)] == list(
        DetectionRow.__struct_fields__
    )


def test_explain_continues_as_well(field, tmp_path):
    mine, out = tmp_path / "field", tmp_path / "out"
    shutil.copytree(field, mine)

    def explain(*words, **more):
        return invoke("explain", "-b", SHIPPED, "-m", "mask", "-r", mine, "-o", out, *words, **more)

    explain("--seed", 1, code=0)
    # A run that is not continued begins anew.
    explain(code=0)
    # A result that is gone is made again.
    shutil.rmtree(out / "north")
    explain("--resume", code=0, says="1 sounds were done before\n")
    times = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert len(times) == 3
    (mine / "south/broken.wav").write_text("no sound")
    assert "north" not in explain("--resume", code=1, says="3 sounds were done before\n").stdout
    assert {path: path.stat().st_mtime_ns for path in times} == times
    again = explain("--resume", "--json")
    assert (again.exit_code, json.loads(again.stdout)["results"]) == (1, [])
    assert "4 sounds were done before, 1 of which had failed" in again.stderr
    explain("--resume", "--target", "bell", says='target was [] there and is ["bell"] here')
    alone = ["explain", "-b", SHIPPED, field / "north/20240501_060000.wav", "--resume"]
    invoke(*alone, code=2)
