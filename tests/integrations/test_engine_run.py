"""`earmark detect --engine`, on this machine: manifests, URLs, tables in parts, continuing."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from command_line import invoke
from planted import check, plant, rows
from refusals import refuses

import earmark
from earmark.errors import DataError
from earmark.integrations.manifest import read_manifest
from earmark.integrations.storage import Folder, fetched
from earmark.runtime.explainer import SHIPPED


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Three recordings, one that is none, and a manifest that names them in four ways."""
    folder = tmp_path_factory.mktemp("engine") / "field"
    files = plant(folder, 3)
    (folder / "broken 20240501_060000.wav").write_text("no sound")
    lines = ["file,site", "00.wav,a", f"{files[1]},b", f"file://{files[2]},c"]
    lines += [f"file://{folder}/broken 20240501_060000.wav,d", "gone.wav,e", "00.wav,twice"]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder


def run(*words, **more):
    """`earmark detect` with the shipped bundle."""
    return invoke(
        "detect", "-b", SHIPPED, "--device", "cpu", "--min-score", 0.8, "--windows", 2, *words, **more
    )


def parts(out):
    return {path: path.stat().st_mtime_ns for path in Path(out).rglob("*.parquet")}


def test_a_manifest_becomes_tables_in_parts(field, tmp_path):
    out = tmp_path / "out"
    done = run("--manifest", field / "list.csv", "--engine", "local", "--jobs", 2, "-o", out, code=1)
    files = read_manifest(field / "list.csv")
    assert check(out, files) == {"done": 3, "failed": 2}
    recordings = {row["file"]: row for row in rows(out, "recordings")}
    broken, gone = recordings[files[3]], recordings[str(field / "gone.wav")]
    assert f"{files[3]} is not a sound" in broken["error"]
    assert (gone["error_type"], "gone.wav" in gone["error"]) == ("AudioError", True)
    # The same as in Python, of a path and of a URL.
    explainer = earmark.load(SHIPPED, device="cpu")
    found = rows(out, "detections")
    for number, name in enumerate([files[0], files[2]]):
        expected = explainer.detect(name.removeprefix("file://"), min_score=0.8, methods=["mask"])
        mine = [row for row in found if row["file"] == name]
        assert [(row["label"], row["start_s"], row["low_hz"]) for row in mine] == [
            (one.label, round(one.start_s, 6), round(one.low_hz, 1)) for one in expected
        ]
        assert [row["label"] for row in mine] == [("bell", "kick")[number]]
        windows = [row for row in rows(out, "windows") if row["file"] == name]
        assert [(row["start_s"], row["labels"]) for row in windows] == [
            (start, [label for label, _ in top])
            for start, top in zip(expected.windows.start_s, expected.windows.top(2), strict=True)
        ]
    assert "3 recordings, 36.0 s of sound, 3 detections, 2 failed" in done.stdout
    # Again: refused; continued: only what failed is tried again; other settings: refused.
    before = parts(out)
    assert "add --resume" in run("--manifest", field / "list.csv", "-o", out).stderr
    (field / "gone.wav").write_bytes((field / "00.wav").read_bytes())
    again = run("--manifest", field / "list.csv", "-o", out, "--resume")
    (field / "gone.wav").unlink()
    assert again.exit_code == 1
    assert check(out, files) == {"done": 4, "failed": 1}
    changed = {path.stem for path, time in parts(out).items() if before[path] != time}
    assert len(changed) == 2
    words = ("--manifest", field / "list.csv", "-o", out, "--resume", "--hop", 0.5)
    run(*words, code=1, says="hop_s was not given there and is 0.5 here")


def test_inputs_without_a_manifest(field, tmp_path):
    run(field / "00.wav", field / "01.wav", "--engine", "local", "-o", tmp_path / "out", code=0)
    assert check(tmp_path / "out", [str(field / "00.wav"), str(field / "01.wav")]) == {"done": 2}
    facts = json.loads((tmp_path / "out/run.json").read_text())
    assert (facts["bundle_id"], facts["settings"]["windows"]) == (
        earmark.load(SHIPPED, device="cpu").explain(field / "00.wav", methods=[]).bundle_id,
        2,
    )


def test_one_name_in_two_folders_is_two_recordings(field, tmp_path):
    files = []
    for site in ("north", "south"):
        files.append(tmp_path / "in" / site / "deep" / "00.wav")
        files[-1].parent.mkdir(parents=True)
        files[-1].write_bytes((field / "00.wav").read_bytes())
    run("-r", tmp_path / "in", "--engine", "local", "-o", tmp_path / "out", "--explain", "none", code=0)
    assert check(tmp_path / "out", list(map(str, files))) == {"done": 2}
    found = {(row["file"], row["site"]) for row in rows(tmp_path / "out", "detections")}
    assert found == {(str(files[0]), "north"), (str(files[1]), "south")}
    listed = tmp_path / "in/list.csv"
    listed.write_text("file\nnorth/deep/00.wav\nsouth/deep/00.wav\n")
    run("--manifest", listed, "-o", tmp_path / "again", "--explain", "none")
    assert {(row["file"], row["site"]) for row in rows(tmp_path / "again", "detections")} == found


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--engine", "local"), "--engine and --manifest go with -o DIR"),
        (("--engine", "local", "-o", "out", "--clips"), "--clips goes without --engine"),
        (("--engine", "spark", "-o", "out", "--jobs", 2), "--jobs goes without --engine spark"),
        (("-o", "out"), "--windows goes with --engine"),
        (("--engine", "local", "-o", "out", "--column", "path"), "--column goes with --manifest"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_go_together(field, arguments, line):
    run(field / "00.wav", *arguments, code=2, says=line)


def test_a_url_to_write_to_goes_with_an_engine(field):
    invoke("detect", field / "00.wav", "-o", "s3://bucket/out", code=2, says="a URL goes with --engine")


def test_a_folder_of_others_is_refused(field, tmp_path):
    (tmp_path / "recordings").mkdir()
    run(field / "00.wav", "--engine", "local", "-o", tmp_path, code=1, says="was not written by earmark")
    assert list(tmp_path.rglob("*")) == [tmp_path / "recordings"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("path,site\na.wav,x\n", "has no column 'file'; it has path, site"),
        ("files\na.wav\n", "has no column 'file'; it has files; did you mean 'files'?"),
        ("file\n", "lists no recordings"),
        ("", "has no column 'file'; it has none"),
        ("file,site\na.wav,x\n,y\n", "row 2 has no path in the column 'file'"),
        (b"\xff\xfe\x00", "is no CSV file in UTF-8"),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path, text, line):
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as raised:
        read_manifest(path)
    assert line in str(raised.value)


def test_a_manifest_in_parquet(tmp_path):
    path = tmp_path / "list.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"sound": ["a.wav", "s3://bucket/b.wav"]}), path)
    assert read_manifest(path, "sound") == [str(tmp_path / "a.wav"), "s3://bucket/b.wav"]
    refuses(DataError, "has no column 'file'; it has sound", read_manifest, path)
    path.write_text("none")
    refuses(DataError, "is no Parquet file", read_manifest, path)
    refuses(DataError, "cannot be read", read_manifest, tmp_path / "gone.csv")


def test_behind_urls(tmp_path):
    folder = Folder("memory://store/out/")
    assert folder.read("a/b") is None
    folder.write("a/b", b"one")
    folder.write("a/b", b"two")
    assert (folder.read("a/b"), folder.holds("a"), folder.holds("c")) == (b"two", True, False)
    with fetched("memory://store/out/a/b") as sound:
        assert (sound.name, sound.read(), sound.path.name) == ("memory://store/out/a/b", b"two", "b")
    assert not sound.path.exists()
    folder.clear("a")
    assert not folder.holds("a")
    gone = "memory://store/gone.wav"
    with pytest.raises(earmark.errors.AudioError, match=f"{gone} cannot be read"), fetched(gone):
        pass
    refuses(earmark.errors.EarmarkError, "nonsense", Folder, "nonsense://x")
