"""One bad item never ends a batch; what leaves the command line is text in any encoding, and no command."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile
from changed_bundle import rewrite
from click.testing import CliRunner

import earmark
from earmark.cli import main
from earmark.commands.console import say, tell
from earmark.errors import OutOfMemoryError, UnexpectedError
from earmark.evaluation.data.folder import list_sounds
from earmark.printable import printable
from earmark.runtime.audio.sound import OpenSound
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.explaining.batch import Failure
from earmark.runtime.results import Result

RATE = 16000
WAVE = (0.1 * np.random.default_rng(5).standard_normal(RATE // 2)).astype(np.float32)


@pytest.fixture
def run():
    def invoke(*arguments, **options):
        return CliRunner().invoke(main, ["explain", "-b", SHIPPED, "-m", "mask", *arguments], **options)

    return lambda *arguments, **options: invoke(*map(str, arguments), **options)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, WAVE, RATE)
    return path


@pytest.fixture(scope="module")
def explainer():
    return earmark.load(SHIPPED, device="cpu")


def records(result):
    return [json.loads(line) for line in result.stdout.split("\n") if line]


# ---- one item


class Raising:
    """An object every touch of which raises."""

    def __getattr__(self, name):
        raise RuntimeError(f"no {name} on a tensor that requires grad")


class Array:
    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on a Tensor that requires grad")


class Long:
    """A file whose end cannot be found."""

    name = "long.wav"

    def read(self, _count=-1):
        raise KeyError("read")

    def seek(self, *_):
        return 100


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (Array, "the array"),
        (lambda: (Array(), RATE), "the array"),
        (Raising, "Raising"),
        (Long, "long.wav"),
        ("x" * 300 + ".wav", "x" * 300 + ".wav"),
        ("a\0b.wav", "a\0b.wav"),
        (None, "NoneType"),
        (object(), "object"),
    ],
)
def test_an_object_that_raises_is_its_own_answer(explainer, bad, name):
    good = (WAVE, RATE)
    bad = bad() if callable(bad) else bad
    answers = list(explainer.explain_many([good, bad, good], methods=[], sample_rate=RATE))
    assert [type(one) for one in answers] == [Result, Failure, Result]
    assert answers[1].input == name
    assert isinstance(answers[1].error, earmark.AudioError)
    with pytest.raises(earmark.AudioError):
        explainer.explain(bad, RATE if isinstance(bad, Array) else None)


def test_an_iterator_that_raises_loses_one_place_and_nothing_that_was_drawn(explainer):
    def load(number):
        if number in {1, 2}:
            raise OSError(5, "Input/output error", f"{number}.wav")
        return WAVE, RATE

    answers = list(explainer.explain_many(map(load, range(5)), methods=[]))
    assert [isinstance(one, Failure) for one in answers] == [False, True, True, False, False]
    assert "1.wav" in str(answers[1].error)

    class Broken:
        def __iter__(self):
            return self

        def __next__(self):
            raise ValueError("for ever")

    with pytest.raises(ValueError, match="for ever"):
        list(explainer.explain_many(Broken(), methods=[]))


def test_a_defect_and_a_lack_of_memory_are_answers_too(explainer, monkeypatch):
    from earmark.runtime.methods.mask.method import Mask

    begin, raised = Mask.begin, [MemoryError("40 GB"), ZeroDivisionError("division by zero")]

    def failing(self, context, sound, target):
        if sound.input_samples == len(WAVE):
            return begin(self, context, sound, target)
        raise raised.pop()

    monkeypatch.setattr(Mask, "begin", failing)
    sounds = [(WAVE, RATE), (WAVE[1:], RATE), (WAVE[2:], RATE), (WAVE, RATE)]
    found = list(explainer.explain_many(sounds, methods=["mask"]))
    assert [type(one) for one in found] == [Result, Failure, Failure, Result]
    assert isinstance(found[1].error, UnexpectedError)
    assert isinstance(found[1].error.__cause__, ZeroDivisionError)
    assert isinstance(found[2].error, OutOfMemoryError)


def test_windows_that_fail_together_are_heard_alone(explainer, monkeypatch):
    from earmark.runtime.inference.pipeline import ModelPipeline

    classified = ModelPipeline.classified

    def failing(self, windows, clock, divisor):
        if len(windows) > 1:
            raise RuntimeError("too much at once")
        return classified(self, windows, clock, divisor)

    monkeypatch.setattr(ModelPipeline, "classified", failing)
    assert all(isinstance(one, Result) for one in explainer.explain_many([(WAVE, RATE)] * 3, methods=[]))


def test_a_sound_that_cannot_be_resampled_is_its_own_answer(explainer, monkeypatch):
    windows = OpenSound.windows

    def failing(self, length, hop):
        if self.input_samples == len(WAVE) - 1:
            raise MemoryError("40 GB")
        return windows(self, length, hop)

    monkeypatch.setattr(OpenSound, "windows", failing)
    sounds = [(WAVE, RATE), (WAVE[1:], RATE), (WAVE, RATE)]
    answers = list(explainer.explain_many(sounds, methods=[]))
    assert [type(one) for one in answers] == [Result, Failure, Result]
    assert isinstance(answers[1].error, OutOfMemoryError)


def test_a_failure_keeps_no_sound_alive_and_ends_no_generator(explainer, monkeypatch):
    held = []

    class Stored:
        name = "stored.wav"

        def __init__(self, error):
            self.error = error

        def seek(self, *_):
            raise self.error

        read = seek

    def sounds():
        yield WAVE, RATE
        try:
            raise KeyError("kept for later")
        except KeyError as error:
            stored = Stored(error)
        yield stored
        yield WAVE, RATE

    def failing(_, opened, *_rest):
        content = np.zeros(10)
        held.append(weakref.ref(content))
        held.append(weakref.ref(opened))
        raise ZeroDivisionError("here")

    monkeypatch.setattr("earmark.runtime.explainer.explain", failing)
    answers = list(explainer.explain_many(sounds(), methods=[]))
    assert [type(one.error).__name__ for one in answers] == [
        "UnexpectedError",
        "AudioError",
        "UnexpectedError",
    ]
    gc.collect()
    assert [one() is None for one in held] == [True] * 4
    lines = "".join(traceback.format_exception(answers[0].error))
    assert 'raise ZeroDivisionError("here")' in lines


def test_a_command_goes_on_after_whatever_a_path_raises(run, clip, tmp_path, monkeypatch):
    listing = tmp_path / "list"
    names = ["x" * 300 + ".wav", "a\0b.wav", "loop.wav", str(clip)]
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    listing.write_bytes(b"\n".join(name.encode() for name in names))
    monkeypatch.chdir(tmp_path)
    result = run("--from-file", listing, "--jsonl")
    found = records(result)
    assert [one["input"] for one in found] == names
    assert ["error" in one for one in found] == [True, True, True, False]
    assert result.exit_code == 1
    assert "defect" not in result.stderr


def test_a_folder_that_cannot_be_listed_is_a_record(run, clip, tmp_path, monkeypatch):
    """Permission by substitution: tests run as root as well, whom nothing stops."""
    locked = tmp_path / "locked"
    locked.mkdir()
    scandir = os.scandir

    def refusing(path="."):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
    result = run("-r", tmp_path, "--jsonl")
    assert result.exit_code == 1
    by_name = {one["input"]: one for one in records(result)}
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
    with pytest.raises(earmark.EarmarkError, match="locked: this folder cannot be listed"):
        listed.left_out(strict=True)


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
    scandir = os.scandir

    def refusing(path="."):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
    return data


LEFT_OUT = {"bell/1-3-A.wav", "bell/locked", "cowbell/locked", "snare/locked"}


@pytest.mark.parametrize("question", ["masks", "prototypes", "events"])
def test_evaluation_leaves_out_what_cannot_be_read(partly_locked, question):
    asked = ["evaluate", question, SHIPPED, partly_locked]
    asked += {"masks": ["-m", "ones"], "events": ["-m", "energy"], "prototypes": []}[question]
    result = CliRunner().invoke(main, [*map(str, asked), "--json"])
    assert result.exit_code == 1, result.output
    document = json.loads(result.stdout)
    assert {one["clip"] for one in document["skipped"]} == LEFT_OUT
    judged = {
        "masks": lambda: document["conditions"]["clean"]["clips"],
        "prototypes": lambda: document["clips"],
        "events": lambda: document["judged"],
    }[question]()
    assert judged == (2 if question == "events" else 5)
    assert sum(line.startswith("left out ") for line in result.stderr.splitlines()) == 4
    strict = CliRunner().invoke(main, [*map(str, asked), "--strict"])
    assert strict.exit_code == 1
    assert not strict.stdout
    assert len(strict.stderr.splitlines()) == 1


def test_an_index_leaves_out_what_cannot_be_read(partly_locked, tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "bundle")
    asked = ["index", str(tmp_path / "bundle"), str(partly_locked), "--rebuild"]
    strict = CliRunner().invoke(main, [*asked, "--strict"])
    assert strict.exit_code == 1
    assert "locked: this folder cannot be listed" in strict.stderr
    result = CliRunner().invoke(main, [*asked, "--json"])
    assert result.exit_code == 1, result.output
    document = json.loads(result.stdout)
    # The classes hold the same sounds.
    assert document["sources"] == 3
    assert {one["name"] for one in document["unreadable"]} == LEFT_OUT


def test_a_result_that_cannot_be_written_is_a_record(run, clip, tmp_path, monkeypatch):
    other = tmp_path / "other.wav"
    shutil.copy(clip, other)
    save = Result.save

    def failing(self, folder):
        if self.input == str(clip):
            raise OSError(28, "No space left on device", str(folder))
        save(self, folder)

    monkeypatch.setattr(Result, "save", failing)
    result = run(clip, other, "-o", tmp_path / "out", "--jsonl")
    assert result.exit_code == 1
    found = records(result)
    assert ["error" in one for one in found] == [True, False]
    assert "No space left on device" in found[0]["error"]["message"]
    assert len(list((tmp_path / "out").rglob("result.json"))) == 1


def test_without_a_temporary_folder_only_long_sound_fails(explainer, monkeypatch):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: nowhere())
    monkeypatch.setattr("earmark.runtime.audio.sound.MEMORY_VALUES", RATE)
    long = np.tile(WAVE, 20)
    found = list(explainer.explain_many([(long, RATE), (WAVE, RATE)], methods=["mask"]))
    assert isinstance(found[0], Failure)
    assert "temporary folder" in str(found[0].error)
    assert isinstance(found[1], Result)


def test_a_defect_shows_its_traceback_only_when_asked(run, clip, monkeypatch):
    def failing(*_, **__):
        raise ZeroDivisionError("here")

    monkeypatch.setattr("earmark.runtime.explainer.explain", failing)
    result = run(clip, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["results"][0]["error"]["type"] == "UnexpectedError"
    assert "Traceback" not in result.stderr
    monkeypatch.setenv("EARMARK_DEBUG", "1")
    assert "ZeroDivisionError: here" in run(clip, "--json").stderr


# ---- one lister


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


def test_every_command_takes_the_same_files_of_a_folder(run, mixed):
    folder, taken, unread = mixed
    expected = sorted(folder / name for name in taken)
    listed = list_sounds(folder.parent, fewest_classes=1)
    assert [clip.path for clip in listed.clips] == expected
    assert sorted(one.path for one in listed.skipped) == sorted(
        folder / name for name in (*unread, "pipe.wav")
    )
    result = run("-r", folder, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [one["input"] for one in document["results"]] == list(map(str, expected))
    assert len(document["skipped"]) == 4
    assert result.stderr.count(".m4a") == 2, "said once, with the first file and the number of the others"
    assert "1 more" in result.stderr
    judged = CliRunner().invoke(
        main, ["evaluate", "masks", str(SHIPPED), str(folder.parent), "-m", "ones", "--json"]
    )
    assert json.loads(judged.stdout)["conditions"]["clean"]["clips"] == len(taken)
    assert "z.m4a and 1 more" in judged.stderr


def test_a_link_to_a_folder_is_followed_once_by_every_command(run, tmp_path):
    for label in ("kick", "snare"):
        (tmp_path / label).mkdir()
        soundfile.write(tmp_path / label / "a.wav", WAVE, RATE)
    (tmp_path / "kick" / "again").symlink_to("../snare")
    names = ["kick/a.wav", "snare/a.wav"]
    assert [clip.name for clip in list_sounds(tmp_path).clips] == names
    assert [one["input"] for one in records(run("-r", tmp_path, "--jsonl"))] == [
        str(tmp_path / name) for name in names
    ]
    (tmp_path / "other").symlink_to("snare")
    with pytest.raises(
        earmark.DataError, match=r"other: no sound files in this class \(it is a link to .*snare"
    ):
        list_sounds(tmp_path)


def test_a_bundle_in_the_place_of_sound_is_named(run, tmp_path, clip):
    shutil.copytree(SHIPPED, tmp_path / "b")
    result = run("-r", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [one["input"] for one in document["results"]] == [str(clip)]
    assert document["skipped"] == [
        {"input": str(tmp_path / "b"), "reason": "it is a bundle: name it by -b to ask it"}
    ]
    (record, _) = records(run(f"{tmp_path}/*", "--jsonl"))
    assert "is a bundle, not sound: name it by -b" in record["error"]["message"]
    result = run(tmp_path / "b" / "bundle.json")
    assert result.exit_code == 2
    assert f"name the bundle by -b {tmp_path / 'b'}" in result.stderr
    (tmp_path / "kick").mkdir()
    soundfile.write(tmp_path / "kick" / "a.wav", WAVE, RATE)
    assert list_sounds(tmp_path, fewest_classes=1).labels == ["kick"]


def test_a_list_of_no_names_is_an_error(run, tmp_path):
    for content in (b"", b"\n\n", b"\xef\xbb\xbf\n"):
        (tmp_path / "list").write_bytes(content)
        result = run("--from-file", tmp_path / "list")
        assert result.exit_code == 1
        assert result.stderr == f"{tmp_path / 'list'}: names no sound\n"


def test_nul_parts_a_list_wherever_it_stands(run, tmp_path, clip):
    (tmp_path / "list").write_bytes(f"{clip}\0{clip}".encode())
    assert [one["input"] for one in records(run("--from-file", tmp_path / "list", "--jsonl"))] == [
        str(clip)
    ] * 2
    for encoding in ("utf-16-le", "utf-16-be", "utf-16"):
        (tmp_path / "list").write_bytes(f"{clip}\n".encode(encoding))
        result = run("--from-file", tmp_path / "list")
        assert result.exit_code == 2
        assert "it is UTF-16; save it as UTF-8" in result.stderr


def test_an_option_of_a_method_that_the_bundle_lacks(run, clip):
    result = CliRunner().invoke(
        main, ["explain", "-b", str(SHIPPED), str(clip), str(clip), "--relevance-threshold", "0.2"]
    )
    assert result.exit_code == 2
    assert (
        "--relevance-threshold is an option of the method components, which this bundle does not"
        in result.stderr
    )


def test_a_folder_of_nothing_but_undecodable_sound_says_so(run, tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"\0" * 100)
    result = run(tmp_path)
    assert result.exit_code == 1
    assert ".m4a" in result.stderr


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_is_bytes_and_only_line_ends_part_it(run, tmp_path, end, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [b"a.wav", b"b\xff.wav", "c\u2028d.wav".encode(), b"e\x0bf.wav"]
    for name in names:
        with Path(os.fsdecode(name)).open("wb") as file:
            soundfile.write(file, WAVE, RATE, format="WAV")
    Path("list").write_bytes(b"\xef\xbb\xbf" + end.encode().join(names) + end.encode())
    Path("list0").write_bytes(b"".join(name + b"\0" for name in names))
    for listing in ("list", "list0"):
        found = records(run("--from-file", listing, "--jsonl"))
        assert [os.fsencode(one["input"]) for one in found] == names


# ---- what leaves


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("kick", "kick"),
        ("Schrei  é 中 नी 👩\u200d🚀", "Schrei  é 中 नी 👩\u200d🚀"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred\x9b0m\x7f", "\\x1b[31mred\\x9b0m\\x7f"),
        ("gpj.\u202egnp\u2066\u200f", "gpj.\\u202egnp\\u2066\\u200f"),
        ("a\u2028b\u2029\ufeff", "a\\u2028b\\u2029\\ufeff"),
        ("\udcff\ud800\U000e0041", "\\xff\\ud800\\U000e0041"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text, shown, capsys):
    assert printable(text) == shown
    say(text)
    tell(text)
    assert capsys.readouterr() == (f"{shown}\n", f"{shown}\n")


def test_a_message_keeps_its_ends_where_it_is_too_long_to_be_read(capsys):
    tell(f"first {'x' * 100_000} last")
    shown = capsys.readouterr().err
    assert len(shown) < 2100
    assert shown.startswith("first x")
    assert shown.endswith("x last\n")


def test_what_no_command_expects_is_one_line(monkeypatch):
    for raised, says in (
        (MemoryError("12 GB"), "not enough memory (12 GB)"),
        (PermissionError(13, "Permission denied", "a.wav"), "Permission denied: a.wav"),
        (KeyError("x"), "a defect in earmark"),
    ):

        def failing(*_, error=raised, **__):
            raise error

        monkeypatch.setattr("earmark.runtime.explainer.load", failing)
        result = CliRunner().invoke(main, ["explain"])
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert says in result.stderr


def test_a_strangers_bundle_and_file_names_cannot_steer_the_terminal(tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(SHIPPED, bundle)
    evil = "\x1b]0;owned\x07\u202edrums\nheard  nothing"

    def change(document):
        document["labels"] = [f"{label}{evil}" for label in document["labels"]]
        document["name"] = document["attribution"] = evil
        del document["prototypes"]
        document["explainers"].remove("prototypes")

    rewrite(bundle, change)
    sound = tmp_path / f"a{evil}.wav".replace("/", "")
    soundfile.write(sound, WAVE, RATE)
    absent = tmp_path / f"b{evil}.wav"
    runs = (
        ["explain", "-b", bundle, sound, absent],
        ["inspect", bundle],
        ["explain", "-b", bundle, sound, "--target", f"x{evil}"],
        ["explain", "-b", f"{bundle}{evil}", sound],
        ["explain", sound, "--device", evil],
        ["verify", f"{bundle}{evil}"],
    )
    for arguments in runs:
        done = CliRunner().invoke(main, list(map(str, arguments)), color=True)
        assert not set("\x1b\x07\u202e") & set(done.output.replace("\x1b[1m", "").replace("\x1b[0m", "")), (
            arguments
        )
        assert "heard  nothing" not in done.output.split("\n")
    document = CliRunner().invoke(main, ["explain", "-b", str(bundle), str(sound), "--json"]).stdout
    assert json.loads(document)["results"][0]["target"].endswith(evil)


def shell(line, **environment):
    return subprocess.run(
        ["sh", "-c", line],
        capture_output=True,
        check=False,
        env={**os.environ, **environment, "E": f"{sys.executable} -m earmark.cli"},
    )


def test_names_that_the_streams_encoding_lacks_come_out_escaped(tmp_path):
    names = [b"a\xff.wav", "é中😀.wav".encode()]
    for name in names:
        with (tmp_path / os.fsdecode(name)).open("wb") as file:
            soundfile.write(file, WAVE, RATE, format="WAV")
    for environment in (
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ):
        text = shell(f"$E explain {tmp_path} -m mask", **environment)
        assert text.returncode == 0, text.stderr
        assert text.stdout.count(b"snare") + text.stdout.count(b"heard") >= 2
        done = shell(f"$E explain {tmp_path} -m mask --json", **environment)
        inputs = [one["input"] for one in json.loads(done.stdout)["results"]]
        if "LC_ALL" not in environment:
            assert [os.fsencode(Path(one).name) for one in inputs] == names


def test_a_bundle_in_a_folder_whose_name_is_no_utf8_is_one_line(run, clip, tmp_path):
    bundle = tmp_path / os.fsdecode(b"b\xff")
    shutil.copytree(SHIPPED, bundle)
    for words in (["explain", clip, "-b", bundle], ["verify", bundle], ["inspect", bundle]):
        result = CliRunner().invoke(main, list(map(str, words)))
        assert result.exit_code == 1
        assert "b\\xff: this folder's name is no UTF-8" in result.stderr


def test_sounds_with_such_names_are_judged_and_written(clip, tmp_path):
    data = tmp_path / os.fsdecode(b"d\xff") / "kick"
    data.mkdir(parents=True)
    shutil.copy(clip, data / os.fsdecode(b"a\xfe.wav"))
    lines = tmp_path / "records.jsonl"
    words = ["evaluate", "masks", SHIPPED, data.parent, "-m", "ones", "--records", lines, "--json"]
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)
    assert all(json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines())
    (name,) = [one.name for one in list_sounds(data.parent, fewest_classes=1).clips]
    assert name == "kick/a\\xfe.wav", "training runs and indexes keep names as text"
    out = tmp_path / os.fsdecode(b"o\xff")
    words = ["explain", "-b", SHIPPED, data, "-m", "mask", "-o", out]
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 0
    (record,) = out.rglob("result.json")
    assert os.fsencode(json.loads(record.read_text(encoding="utf-8"))["input"]).endswith(b"a\xfe.wav")


def test_closed_and_full_streams(clip):
    explain = f"$E explain -m mask {clip}"
    assert shell(f"{explain} 2>&- --json").returncode == 0
    assert json.loads(shell(f"{explain} --json 2>&-").stdout)["failed"] == 0
    assert shell(f"{explain} <&-").returncode == 0
    assert shell(f"{explain} --json 2>/dev/full").returncode == 0
    for line in (
        explain,
        f"{explain} --json",
        "$E --help",
        "$E explain --help",
        "$E --version",
        "$E inspect",
    ):
        closed = shell(f"{line} >&-")
        assert (closed.returncode, closed.stderr.count(b"\n")) == (1, 1)
        assert b"stdout is closed" in closed.stderr
    for line in (explain, "$E --help"):
        full = shell(f"{line} >/dev/full")
        assert (full.returncode, full.stderr.count(b"\n")) == (1, 1)
        assert b"No space left" in full.stderr
    nothing = shell("$E explain -m mask - --jsonl <&-")
    assert nothing.returncode == 1
    assert "stdin is closed" in json.loads(nothing.stdout)["error"]["message"]
    # The reader of a pipe that has gone ends the run without a word.
    gone = shell(f"(for i in 1 2 3; do echo {clip}; done) | $E explain -m mask --from-file - | head -c 1")
    assert gone.stderr == b""
