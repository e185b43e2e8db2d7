"""The command line as a user meets it: streams, exit codes, records."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from earmark.cli import main


@pytest.fixture
def run():
    runner = CliRunner()

    def invoke(*arguments, **options):
        return runner.invoke(main, [str(argument) for argument in arguments], **options)

    return invoke


@pytest.fixture
def clips(tmp_path):
    """Two good clips, a text file that calls itself one, and a folder inside."""
    rng = np.random.default_rng(7)
    folder = tmp_path / "clips"
    (folder / "more").mkdir(parents=True)
    time = np.arange(16000) / 16000
    tone = 0.4 * np.sin(2 * np.pi * 440 * time) + 0.01 * rng.standard_normal(16000)
    soundfile.write(folder / "a.wav", tone, 16000)
    soundfile.write(folder / "b.flac", np.stack([tone, -0.5 * tone], 1)[:9000], 22050)
    soundfile.write(folder / "more" / "c.ogg", tone, 16000)
    (folder / "not-sound.wav").write_text("this is no sound")
    return folder


def test_json_is_one_document_and_failures_are_records(run, clips, tiny_bundle):
    result = run("explain", clips, "-b", tiny_bundle, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["failed"] == 1
    names = [record["input"] for record in document["results"]]
    assert names == sorted(names)
    assert len(names) == 3
    failed = [record for record in document["results"] if record["error"]]
    assert len(failed) == 1
    assert "not-sound.wav" in failed[0]["input"]
    assert "not-sound.wav" in failed[0]["error"]["message"]
    good = [record for record in document["results"] if not record["error"]]
    assert all(0 <= record["predictions"][0]["score"] <= 1 for record in good)


def test_recursive_glob_list_and_stdin_name_the_same_sound(run, clips, tiny_bundle, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text(f"{clips / 'a.wav'}\n\n")
    sound = (clips / "a.wav").read_bytes()
    by_list = run("explain", "--from-file", listing, "-b", tiny_bundle, "--jsonl")
    by_glob = run("explain", str(clips / "a.*"), "-b", tiny_bundle, "--jsonl")
    by_stdin = run("explain", "-", "-b", tiny_bundle, "--jsonl", input=sound)
    scores = [json.loads(result.stdout)["predictions"] for result in (by_list, by_glob, by_stdin)]
    assert scores[0] == scores[1] == scores[2]
    recursive = run("explain", clips, "--recursive", "-b", tiny_bundle, "--jsonl")
    assert len(recursive.stdout.splitlines()) == 4


def test_fail_fast_stops(run, clips, tiny_bundle):
    result = run(
        "explain", clips / "not-sound.wav", clips / "a.wav", "--fail-fast", "-b", tiny_bundle, "--jsonl"
    )
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["explain", "{clips}/a.wav", "--json", "--jsonl"], 2, "--json"),
        (["explain", "{clips}/a.wav", "-m", "nonsense"], 2, "nonsense"),
        (["explain", "{clips}/a.wav", "--device", "cuda"], 3, "cuda"),
        (["explain", "{clips}/a.wav", "--device", "toaster"], 2, "toaster"),
        (["explain", "{clips}/nothing.wav"], 1, "nothing.wav"),
        (["explain", "{clips}/*.xyz"], 1, "no file matches"),
        (["explain", "{clips}/a.wav", "--target", "no such label"], 1, "no such label"),
        (["explain", "{clips}/a.wav", "-b", "{clips}"], 1, "bundle.json"),
        (["explain"], 2, "INPUT"),
        (["verify", "{clips}"], 1, "bundle.json"),
        (["inspect", "{clips}/absent"], 2, "absent"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_errors_are_one_line_with_the_right_code(run, clips, tiny_bundle, arguments, code, says):
    filled = [argument.format(clips=clips) for argument in arguments]
    if filled[0] == "explain" and "-b" not in filled:
        filled += ["-b", str(tiny_bundle)]
    result = run(*filled)
    assert result.exit_code == code, result.output
    assert says in result.stderr + result.stdout
    assert "Traceback" not in result.output
    assert "defect" not in result.output


def test_output_folder_holds_picture_sound_and_record(run, clips, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    result = run("explain", clips / "b.flac", "-b", tiny_bundle, "-o", out, "-m", "mask")
    assert result.exit_code == 0, result.output
    assert (out / "mask.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "result.json").read_text())["target"]
    original, rate = soundfile.read(clips / "b.flac", always_2d=True)
    kept, kept_rate = soundfile.read(out / "kept.wav", always_2d=True)
    removed, _ = soundfile.read(out / "removed.wav", always_2d=True)
    assert kept_rate == rate
    assert kept.shape == original.shape
    np.testing.assert_allclose(kept + removed, original, atol=2e-4)


def test_verify_inspect_and_doctor(run, tiny_bundle):
    assert run("verify", tiny_bundle).exit_code == 0
    document = json.loads(run("inspect", tiny_bundle, "--json").stdout)
    assert document["schema_version"] == 4
    shown = run("inspect", tiny_bundle)
    assert document["labels"][0] in shown.stdout
    findings = json.loads(run("doctor", "--json").stdout)["findings"]
    assert {finding["topic"] for finding in findings} >= {"earmark", "onnxruntime", "devices", "bundle"}


def test_a_sound_longer_than_a_pipe_buffer_comes_through_stdin(run, tiny_bundle):
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.random.default_rng(1).standard_normal((48000 * 8, 2)) * 0.1, 48000, format="WAV"
    )
    result = run("explain", "-", "-b", tiny_bundle, "--json", input=buffer.getvalue())
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["results"][0]["input"] == "stdin"
