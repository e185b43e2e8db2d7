"""Every command takes the same files of a folder or a list, and leaves out what cannot be read."""

import json
import os
import shutil
from pathlib import Path

import pytest
import soundfile
from command_line import documents, explain, invoke
from file_limit import lock
from refusals import refuses
from runtime_sounds import RATE, WAVE

import earmark
from earmark.errors import DataError
from earmark.evaluation.data.folder import list_sounds
from earmark.runtime.explainer import SHIPPED


def test_a_folder_that_cannot_be_listed_is_a_record(clip, tmp_path, monkeypatch):
    locked = tmp_path / "locked"
    locked.mkdir()
    lock(monkeypatch)
    by_name = {one["input"]: one for one in documents(explain("-r", tmp_path, "--jsonl", code=1))}
    assert "Permission denied" in by_name[str(locked)]["error"]["message"]
    assert by_name[str(clip)]["predictions"]
    data = tmp_path / "data"
    (data / "kick" / "locked").mkdir(parents=True)
    soundfile.write(data / "kick" / "a.wav", WAVE, RATE)
    listed = list_sounds(data, fewest_classes=1)
    assert [clip.name for clip in listed.clips] == ["kick/a.wav"]
    (left_out,) = listed.left_out()
    assert left_out[0] == "kick/locked"
    assert "this folder cannot be listed (Permission denied)" in left_out[1]
    refuses(earmark.EarmarkError, "locked: this folder cannot be listed", listed.left_out, strict=True)


@pytest.fixture
def partly_locked(tmp_path, monkeypatch):
    """Class folders that hold a locked folder each, and a file that is no sound."""
    data = tmp_path / "data"
    for label in ("bell", "snare"):
        (data / label / "locked").mkdir(parents=True)
        for number in (1, 2):
            soundfile.write(data / label / f"1-{number}-A.wav", number * WAVE, RATE)
    (data / "cowbell" / "locked").mkdir(parents=True)
    (data / "bell" / "1-3-A.wav").write_text("no sound")
    soundfile.write(data / "cowbell" / "1-4-A.wav", WAVE[::-1], RATE)
    lines = ["clip,label,start_s,end_s", "bell/1-3-A.wav,bell,0.1,0.2", "bell/locked/x.wav,bell,0.1,0.2"]
    lines += ["bell/1-1-A.wav,bell,0.1,0.2", "snare/1-1-A.wav,snare,0.1,0.2"]
    (data / "events.csv").write_text("\n".join(lines))
    lock(monkeypatch)
    return data


LEFT_OUT = {"bell/1-3-A.wav", "bell/locked", "cowbell/locked", "snare/locked"}


@pytest.mark.parametrize("question", ["masks", "prototypes", "events"])
def test_evaluation_leaves_out_what_cannot_be_read(partly_locked, question):
    asked = ["evaluate", question, SHIPPED, partly_locked]
    asked += {"masks": ["-m", "ones"], "events": ["-m", "energy"], "prototypes": []}[question]
    result = invoke(*asked, "--json", code=1)
    document = json.loads(result.stdout)
    assert {one["clip"] for one in document["skipped"]} == LEFT_OUT
    judged = {
        "masks": lambda: document["conditions"]["clean"]["clips"],
        "prototypes": lambda: document["clips"],
        "events": lambda: document["judged"],
    }[question]()
    assert judged == (2 if question == "events" else 5)
    assert sum(line.startswith("left out ") for line in result.stderr.splitlines()) == 4
    strict = invoke(*asked, "--strict", code=1)
    assert not strict.stdout
    assert len(strict.stderr.splitlines()) == 1


def test_an_index_leaves_out_what_cannot_be_read(partly_locked, tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "bundle")
    asked = ["index", str(tmp_path / "bundle"), str(partly_locked), "--rebuild"]
    invoke(*asked, "--strict", code=1, says="locked: this folder cannot be listed")
    document = json.loads(invoke(*asked, "--json", code=1).stdout)
    # The classes hold the same sounds.
    assert document["sources"] == 3
    assert {one["name"] for one in document["unreadable"]} == LEFT_OUT


@pytest.fixture
def mixed(tmp_path):
    """A folder of one class with everything that a folder can hold."""
    folder = tmp_path / "data" / "kick"
    taken = ["a.wav", "B.WAV", "c.wave", "d.aifc", "e.snd", "sub/f.flac", "__g.wav"]
    passed = ["._a.wav", ".hid/a.wav", "@eaDir/a.wav", "__MACOSX/a.wav", "lost+found/a.wav", "notes.txt"]
    unread = ["x.m4a", "y.AAC", "sub/z.m4a"]
    for name in (*taken, *passed, *unread):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".flac": "FLAC", ".aifc": "AIFF", ".snd": "AU"}.get(path.suffix, "WAV")
        soundfile.write(path, WAVE, RATE, format=kind)
    (folder / "sub" / "loop").symlink_to("..")
    (folder / "self").symlink_to("self")
    os.mkfifo(folder / "pipe.wav")
    return folder, taken, unread


def test_every_command_takes_the_same_files_of_a_folder(mixed):
    folder, taken, unread = mixed
    expected = sorted(folder / name for name in taken)
    listed = list_sounds(folder.parent, fewest_classes=1)
    assert [clip.path for clip in listed.clips] == expected
    assert sorted(one.path for one in listed.skipped) == sorted(
        folder / name for name in (*unread, "pipe.wav")
    )
    result = explain("-r", folder, "--json", code=0)
    document = json.loads(result.stdout)
    assert [one["input"] for one in document["results"]] == list(map(str, expected))
    assert len(document["skipped"]) == 4
    assert result.stderr.count(".m4a") == 2, "said once, with the first file and the number of the others"
    assert "1 more" in result.stderr
    judged = invoke("evaluate", "masks", SHIPPED, folder.parent, "-m", "ones", "--json")
    assert json.loads(judged.stdout)["conditions"]["clean"]["clips"] == len(taken)
    assert "z.m4a and 1 more" in judged.stderr


def test_a_link_to_a_folder_is_followed_once_by_every_command(tmp_path):
    for label in ("kick", "snare"):
        (tmp_path / label).mkdir()
        soundfile.write(tmp_path / label / "a.wav", WAVE, RATE)
    (tmp_path / "kick" / "again").symlink_to("../snare")
    names = ["kick/a.wav", "snare/a.wav"]
    assert [clip.name for clip in list_sounds(tmp_path).clips] == names
    assert [one["input"] for one in documents(explain("-r", tmp_path, "--jsonl"))] == [
        str(tmp_path / name) for name in names
    ]
    (tmp_path / "other").symlink_to("snare")
    with pytest.raises(
        earmark.DataError, match=r"other: no sound files in this class \(it is a link to .*snare"
    ):
        list_sounds(tmp_path)


def test_a_bundle_in_the_place_of_sound_is_named(tmp_path, clip):
    shutil.copytree(SHIPPED, tmp_path / "b")
    document = json.loads(explain("-r", tmp_path, "--json", code=0).stdout)
    assert [one["input"] for one in document["results"]] == [str(clip)]
    assert document["skipped"] == [
        {"input": str(tmp_path / "b"), "reason": "it is a bundle: name it by -b to ask it"}
    ]
    (record, _) = documents(explain(f"{tmp_path}/*", "--jsonl"))
    assert "is a bundle, not sound: name it by -b" in record["error"]["message"]
    explain(tmp_path / "b" / "bundle.json", code=2, says=f"name the bundle by -b {tmp_path / 'b'}")
    (tmp_path / "kick").mkdir()
    soundfile.write(tmp_path / "kick" / "a.wav", WAVE, RATE)
    assert list_sounds(tmp_path, fewest_classes=1).labels == ["kick"]


def test_a_list_of_no_names_is_an_error(tmp_path):
    for content in (b"", b"\n\n", b"\xef\xbb\xbf\n"):
        (tmp_path / "list").write_bytes(content)
        result = explain("--from-file", tmp_path / "list", code=1)
        assert result.stderr == f"{tmp_path / 'list'}: names no sound\n"


def test_nul_parts_a_list_wherever_it_stands(tmp_path, clip):
    (tmp_path / "list").write_bytes(f"{clip}\0{clip}".encode())
    assert [one["input"] for one in documents(explain("--from-file", tmp_path / "list", "--jsonl"))] == [
        str(clip)
    ] * 2
    for encoding in ("utf-16-le", "utf-16-be", "utf-16"):
        (tmp_path / "list").write_bytes(f"{clip}\n".encode(encoding))
        explain("--from-file", tmp_path / "list", code=2, says="it is UTF-16; save it as UTF-8")


def test_an_option_of_a_method_that_the_bundle_lacks(clip):
    words = ("explain", "-b", SHIPPED, clip, clip, "--relevance-threshold", "0.2")
    invoke(
        *words,
        code=2,
        says="--relevance-threshold is an option of the method components, which this bundle does not",
    )


def test_a_folder_of_nothing_but_undecodable_sound_says_so(tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"\0" * 100)
    explain(tmp_path, code=1, says=".m4a")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_is_bytes_and_only_line_ends_part_it(tmp_path, end, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [b"a.wav", b"b\xff.wav", "c\u2028d.wav".encode(), b"e\x0bf.wav"]
    for name in names:
        with Path(os.fsdecode(name)).open("wb") as file:
            soundfile.write(file, WAVE, RATE, format="WAV")
    Path("list").write_bytes(b"\xef\xbb\xbf" + end.encode().join(names) + end.encode())
    Path("list0").write_bytes(b"".join(name + b"\0" for name in names))
    for listing in ("list", "list0"):
        found = documents(explain("--from-file", listing, "--jsonl"))
        assert [os.fsencode(one["input"]) for one in found] == names


def test_where_no_labels_are_needed_loose_sounds_count(tmp_path):
    for name in ("1-7-A.wav", "kick/hit_01.wav", "notes/read.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("wav"):
            soundfile.write(tmp_path / name, WAVE, RATE)
        else:
            (tmp_path / name).write_text("no sound")
    listed = list_sounds(tmp_path, fewest_classes=0)
    assert listed.labels == ["kick"]
    assert [(clip.name, clip.labels, clip.fold) for clip in listed.clips] == [
        ("1-7-A.wav", (), 1),
        ("kick/hit_01.wav", ("kick",), None),
    ]
    refuses(DataError, "notes: no sound files", list_sounds, tmp_path / "notes", fewest_classes=0)
    refuses(DataError, "no sound files in this class", list_sounds, tmp_path, fewest_classes=1)
