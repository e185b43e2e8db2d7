"""A result owns its folder: replaced as a whole, never mixed with another, and nothing of others is lost."""

import json
import os
from pathlib import Path

import pytest
from refusals import refuses
from runtime_sounds import RATE, noise, tone

import earmark
from earmark.errors import WriteError
from earmark.prototypes_index import atomic
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.result_files.folder import is_result, written_by_earmark


@pytest.fixture(scope="module")
def masked(explainer):
    return explainer.explain(noise(), RATE, methods=["mask"])


@pytest.fixture(scope="module")
def bare(explainer):
    return explainer.explain(tone(), RATE, methods=[])


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def record(folder):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("exchanges", [True, False])
def test_another_result_replaces_the_whole(masked, bare, tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(atomic, "exchange", lambda one, other: False)
    out = tmp_path / "out"
    masked.save(out)
    out.chmod(0o700)
    assert names(out) == ["arrays.npz", "kept.wav", "mask.png", "removed.wav", "result.json"]
    bare.save(out)
    assert names(out) == ["arrays.npz", "result.json"]
    assert record(out)["mask"] is None
    assert out.stat().st_mode & 0o777 == 0o700
    assert names(tmp_path) == ["out", "out/arrays.npz", "out/result.json"]


def test_files_of_others_stay(masked, bare, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "resistor.csv").write_text("mine too")
    masked.save(tmp_path)
    assert {"notes.txt", "components/resistor.csv", "kept.wav", "result.json"} <= set(names(tmp_path))
    bare.save(tmp_path)
    assert names(tmp_path) == [
        "arrays.npz",
        "components",
        "components/resistor.csv",
        "notes.txt",
        "result.json",
    ]
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["kept.wav", "result.json"])
def test_a_file_of_others_with_a_name_of_ours_is_not_overwritten(masked, tmp_path, name):
    (tmp_path / name).write_text('{"whose": "mine"}')
    line = refuses(earmark.EarmarkError, f"{name}: is there already", masked.save, tmp_path)
    assert "another folder" in line
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == '{"whose": "mine"}'


@pytest.mark.parametrize("blocked", ["kept.wav", "prototypes", "link"])
def test_what_blocks_a_file_is_refused_before_anything_is_replaced(bare, tmp_path, blocked):
    """A folder with the name of a file, a file or a link in the place of a folder."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    bare.save(out)
    (out / "notes.txt").write_text("mine")
    elsewhere.mkdir()
    if blocked == "kept.wav":
        (out / blocked).mkdir()
    elif blocked == "prototypes":
        (out / blocked).write_text("mine")
    else:
        (out / "prototypes").symlink_to(elsewhere)
    before, result = names(out), record(out)
    with (
        earmark.load(SHIPPED, device="cpu") as explainer,
        pytest.raises(WriteError, match="is there already and was not written by earmark"),
    ):
        explainer.explain(tone(), RATE).save(out)
    assert (names(out), record(out), names(elsewhere)) == (before, result, [])


def test_a_link_in_the_place_of_an_own_folder_stays(bare, tmp_path):
    bare.save(tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "prototypes").symlink_to(tmp_path / "elsewhere")
    bare.save(tmp_path / "out")
    assert names(tmp_path) == ["elsewhere", "out", "out/arrays.npz", "out/prototypes", "out/result.json"]


def test_stopped_between_files_the_record_says_so_and_the_next_goes_on(masked, bare, tmp_path, monkeypatch):
    """Files of others are there, hence ours are replaced one by one."""
    (tmp_path / "notes.txt").write_text("mine")
    masked.save(tmp_path)
    replace, seen = type(tmp_path).replace, []

    def stop(path, target):
        seen.append(target.name)
        if target.name == "removed.wav":
            raise OSError(5, "Input/output error")
        return replace(path, target)

    monkeypatch.setattr(type(tmp_path), "replace", stop)
    with pytest.raises(earmark.EarmarkError, match="Input/output error"):
        masked.save(tmp_path)
    monkeypatch.undo()
    assert seen[0] == "result.json"
    assert "unfinished" in record(tmp_path)
    assert is_result(tmp_path)
    bare.save(tmp_path)
    assert names(tmp_path) == ["arrays.npz", "notes.txt", "result.json"]
    assert record(tmp_path)["target"] == bare.target


def test_the_working_folder_stays_the_same_folder(masked, bare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    masked.save(".")
    before = tmp_path.stat().st_ino
    bare.save(".")
    assert tmp_path.stat().st_ino == before
    assert names(tmp_path) == ["arrays.npz", "result.json"]


def test_a_link_to_a_folder_stays_a_link(bare, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    bare.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "there") == ["arrays.npz", "result.json"]


def test_what_a_killed_run_left_goes_with_the_next(bare, tmp_path):
    for left in (tmp_path / ".earmark-0123456789abcdef", tmp_path / "out" / ".earmark-fedcba9876543210"):
        left.mkdir(parents=True)
        (left / "kept.wav").write_text("half")
    bare.save(tmp_path / "out")
    assert names(tmp_path) == ["out", "out/arrays.npz", "out/result.json"]


def test_modes_follow_the_umask(masked, tmp_path):
    before = os.umask(0o027)
    try:
        masked.save(tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o640}


def test_earmark_knows_what_it_wrote(masked, tmp_path):
    masked.save(tmp_path / "out")
    assert written_by_earmark(tmp_path / "out" / "kept.wav")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kept.wav").touch()
    (tmp_path / "out" / "dog.wav").touch()
    assert not written_by_earmark(tmp_path / "other" / "kept.wav")
    assert not written_by_earmark(tmp_path / "out" / "dog.wav")


def test_every_file_that_is_saved_is_known(components_bundle, tmp_path):
    """What is not known to be earmark's would be taken for a file of another."""
    import numpy as np

    random = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.1
    result = earmark.load(components_bundle, "cpu").explain(random, 16000)
    result.save(tmp_path / "out")
    first = (tmp_path / "out").stat().st_ino
    assert {"components.png", "prototypes.png", "mask.png"} <= set(names(tmp_path / "out"))
    result.save(tmp_path / "out")
    assert (tmp_path / "out").stat().st_ino != first, "replaced as a whole"


def test_two_runs_write_the_same_bytes(tmp_path):
    """But for what was measured: libsndfile would write the time of day into every WAV in float."""
    with earmark.load(SHIPPED, device="cpu") as explainer:
        for name in ("one", "two"):
            explainer.explain(tone(), RATE).save(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert {Path("kept.wav"), Path("prototypes/square_1.wav"), Path("mask.png")} <= set(files)
    for file in files:
        one, two = (tmp_path / "one" / file).read_bytes(), (tmp_path / "two" / file).read_bytes()
        if file.name == "result.json":
            one, two = ({**json.loads(text), "timings_ms": None} for text in (one, two))
        if file.name == "arrays.npz":
            assert earmark.Result.load(tmp_path / "one") == earmark.Result.load(tmp_path / "two")
            continue
        assert one == two, file
        # The chunk that would hold the time.
        assert file.suffix != ".wav" or b"PEAK" not in one[:200]


def test_a_save_that_fails_leaves_no_empty_folder(masked, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.setattr("soundfile.SoundFile.write", lambda *_: os.write(-1, b""))
    for place in ("new/a/b", "there/a"):
        with pytest.raises(WriteError):
            masked.save(tmp_path / place)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_name_that_is_no_utf8_is_a_valid_record(bare, tmp_path):
    from dataclasses import replace

    replace(bare, input="caf\udce9.wav").save(tmp_path / os.fsdecode(b"caf\xe9"))
    assert record(tmp_path / os.fsdecode(b"caf\xe9"))["input"] == "caf\udce9.wav"
