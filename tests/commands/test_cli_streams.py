"""What leaves the command line is text in any encoding, and no command to a terminal."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from changed_bundle import rewritten
from command_line import invoke
from runtime_sounds import RATE, WAVE

from earmark.commands.console import say, tell
from earmark.evaluation.data.folder import list_sounds
from earmark.printable import printable
from earmark.runtime.explainer import SHIPPED


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
        result = invoke("explain")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert says in result.stderr


def test_a_strangers_bundle_and_file_names_cannot_steer_the_terminal(tmp_path):
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    evil = "\x1b]0;owned\x07\u202edrums\npredicted  nothing"

    with rewritten(bundle) as document:
        document["labels"] = [f"{label}{evil}" for label in document["labels"]]
        document["name"] = document["attribution"] = evil
        del document["prototypes"]
        document["explainers"].remove("prototypes")
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
        done = invoke(*arguments, color=True)
        assert not set("\x1b\x07\u202e") & set(done.output.replace("\x1b[1m", "").replace("\x1b[0m", "")), (
            arguments
        )
        assert "predicted  nothing" not in done.output.split("\n")
    document = invoke("explain", "-b", bundle, sound, "--json").stdout
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
        assert text.stdout.count(b"predicted") == 2
        done = shell(f"$E explain {tmp_path} -m mask --json", **environment)
        inputs = [one["input"] for one in json.loads(done.stdout)["results"]]
        if "LC_ALL" not in environment:
            assert [os.fsencode(Path(one).name) for one in inputs] == names


def test_a_bundle_in_a_folder_whose_name_is_no_utf8_is_one_line(clip, tmp_path):
    bundle = shutil.copytree(SHIPPED, tmp_path / os.fsdecode(b"b\xff"))
    for words in (["explain", clip, "-b", bundle], ["verify", bundle], ["inspect", bundle]):
        invoke(*words, code=1, says="b\\xff: this folder's name is no UTF-8")


def test_sounds_with_such_names_are_judged_and_written(clip, tmp_path):
    data = tmp_path / os.fsdecode(b"d\xff") / "kick"
    data.mkdir(parents=True)
    shutil.copy(clip, data / os.fsdecode(b"a\xfe.wav"))
    lines = tmp_path / "records.jsonl"
    words = ["evaluate", "masks", SHIPPED, data.parent, "-m", "ones", "--records", lines, "--json"]
    json.loads(invoke(*words, code=0).stdout)
    assert all(json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines())
    (name,) = [one.name for one in list_sounds(data.parent, fewest_classes=1).clips]
    assert name == "kick/a\\xfe.wav", "training runs and indexes keep names as text"
    out = tmp_path / os.fsdecode(b"o\xff")
    words = ["explain", "-b", SHIPPED, data, "-m", "mask", "-o", out]
    invoke(*words, code=0)
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
