"""The command line as a user meets it: streams, exit codes, records."""

import io
import json

import numpy as np
import pytest
import soundfile
from command_line import invoke


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


def test_json_is_one_document_and_failures_are_records(clips, tiny_bundle):
    document = json.loads(invoke("explain", clips, "-b", tiny_bundle, "--json", code=1).stdout)
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


def test_recursive_glob_list_and_stdin_name_the_same_sound(clips, tiny_bundle, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text(f"{clips / 'a.wav'}\n\n")
    sound = (clips / "a.wav").read_bytes()
    by_list = invoke("explain", "--from-file", listing, "-b", tiny_bundle, "--jsonl")
    by_glob = invoke("explain", str(clips / "a.*"), "-b", tiny_bundle, "--jsonl")
    by_stdin = invoke("explain", "-", "-b", tiny_bundle, "--jsonl", input=sound)
    scores = [json.loads(result.stdout)["predictions"] for result in (by_list, by_glob, by_stdin)]
    assert scores[0] == scores[1] == scores[2]
    assert len(invoke("explain", clips, "--recursive", "-b", tiny_bundle, "--jsonl").stdout.splitlines()) == 4


def test_fail_fast_stops(clips, tiny_bundle):
    words = ("explain", clips / "not-sound.wav", clips / "a.wav", "--fail-fast", "-b", tiny_bundle, "--jsonl")
    assert len(invoke(*words, code=1).stdout.splitlines()) == 1


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
def test_errors_are_one_line_with_the_right_code(clips, tiny_bundle, arguments, code, says):
    filled = [argument.format(clips=clips) for argument in arguments]
    if filled[0] == "explain" and "-b" not in filled:
        filled += ["-b", str(tiny_bundle)]
    result = invoke(*filled, code=code)
    assert says in result.stderr + result.stdout
    assert "Traceback" not in result.output
    assert "defect" not in result.output


def test_verify_inspect_and_doctor(tiny_bundle):
    invoke("verify", tiny_bundle, code=0)
    document = json.loads(invoke("inspect", tiny_bundle, "--json").stdout)
    assert document["schema_version"] == 4
    assert document["labels"][0] in invoke("inspect", tiny_bundle).stdout
    findings = json.loads(invoke("doctor", "--json").stdout)["findings"]
    assert {finding["topic"] for finding in findings} >= {"earmark", "onnxruntime", "devices", "bundle"}


def test_a_sound_longer_than_a_pipe_buffer_comes_through_stdin(tiny_bundle):
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.random.default_rng(1).standard_normal((48000 * 8, 2)) * 0.1, 48000, format="WAV"
    )
    result = invoke("explain", "-", "-b", tiny_bundle, "--json", input=buffer.getvalue(), code=0)
    assert json.loads(result.stdout)["results"][0]["input"] == "stdin"
