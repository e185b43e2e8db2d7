"""`earmark verify`: damage and differing numbers are told apart, and golden.npz is read with suspicion."""

import io
import json
import shutil
import struct
import zipfile

import numpy as np
import pytest
from changed_bundle import edited, edited_arrays, refused, sign
from command_line import invoke

import earmark
from earmark.runtime.verify import verify


@pytest.fixture
def bundle(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def command(bundle, *words, **more):
    return invoke("verify", bundle, "--device", "cpu", *words, **more)


def damaged(bundle, *words):
    """One line, exit code 1, no traceback, by the API and by the command."""
    message = refused(bundle, *words, at=lambda path: verify(path, "cpu"))
    result = command(bundle, code=1)
    assert result.stderr.strip() == f"Error: {message}"
    assert result.stdout == ""


def header(shape, descr="<f4"):
    text = str({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(bundle, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(bundle / "golden.npz", "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    sign(bundle, "golden.npz")


def golden(bundle):
    return edited_arrays(bundle, "golden.npz")


def test_a_sound_bundle_computes_the_same_here(bundle):
    opened, checks = verify(bundle, "cpu")
    assert opened.manifest.name == "tiny"
    assert {check.output.partition("_")[0] for check in checks} == {"logits", "mask"}
    assert all(check.passed for check in checks)
    assert all(check["passed"] for check in json.loads(command(bundle, "--json", code=0).stdout)["checks"])


def test_arrays_in_fortran_order_are_arrays(bundle):
    with golden(bundle) as arrays:
        arrays |= {name: np.asfortranarray(array) for name, array in arrays.items()}
    assert all(check.passed for check in verify(bundle, "cpu")[1])


def test_other_numbers_are_reported_not_raised(bundle):
    with golden(bundle) as arrays:
        arrays["logits_0"] = arrays["logits_0"] + np.float32(0.01)
    assert [check.output for check in verify(bundle, "cpu")[1] if not check.passed] == ["logits_0"]
    result = command(bundle, "--json", code=1)
    found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert sum(not check["passed"] for check in found["checks"]) == 1
    assert "differ" in result.stderr


@pytest.mark.parametrize("value", [np.nan, np.inf, None, "gone"])
@pytest.mark.parametrize("name", ["logits_0", "mask_1"])
def test_a_golden_answer_that_is_none_is_damage(bundle, name, value):
    with golden(bundle) as arrays:
        if value == "gone":
            del arrays[name]
        else:
            arrays[name] = arrays[name][:, :2] if value is None else arrays[name] + np.float32(value)
    damaged(bundle, "golden.npz")


@pytest.mark.parametrize("limit", [1e30, 1.0, -1.0])
def test_a_limit_that_is_no_rounding(bundle, limit):
    with edited(bundle / "bundle.json") as manifest:
        manifest["parity"]["fp32"]["logits"]["limit"] = limit
    with golden(bundle) as arrays:
        arrays |= {name: 0 * array for name, array in arrays.items() if "logits" in name}
    damaged(bundle, "bundle.json", "logits", "rounding")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", lambda said: said[::-1]),
        ("sample_rate", lambda said: 2 * said),
        ("window", lambda said: {**said, "hop_seconds": said["hop_seconds"] / 2}),
        ("window", lambda said: {**said, "aggregate": "max"}),
        ("task", lambda said: "multi_label"),
        ("level", lambda said: "peak" if said != "peak" else "none"),
        ("analysis", lambda said: {**said, "window": "hamming"}),
        ("mask_targets", lambda said: "any" if said != "any" else "predicted"),
    ],
)
def test_facts_that_decide_an_answer_are_bound_to_the_bundle(bundle, field, value):
    with edited(bundle / "bundle.json") as manifest:
        assert manifest["bundle_id"].startswith("2-")
        manifest[field] = value(manifest[field])
    damaged(bundle, "bundle.json", "bundle_id")
    with pytest.raises(earmark.BundleError, match="bundle_id"):
        earmark.load(bundle, "cpu")


def test_a_bundle_of_another_time_still_opens(bundle):
    with edited(bundle / "bundle.json") as manifest:
        manifest.update(bundle_id=64 * "a", added_later=1)
    assert all(check.passed for check in verify(bundle, "cpu")[1])


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["cut", "flipped"])
def test_a_damaged_archive(bundle, kind, at):
    path = bundle / "golden.npz"
    content = bytearray(path.read_bytes())
    place = int(at * len(content))
    if kind == "cut":
        del content[place:]
    else:
        content[place : place + 8] = bytes(255 - byte for byte in content[place : place + 8])
    path.write_bytes(content)
    damaged(bundle, "golden.npz")
    sign(bundle, "golden.npz")
    if kind == "flipped" and at == 0.999:
        pytest.skip("the end of the directory may hold what nobody reads")
    damaged(bundle, "golden.npz")


def test_an_archive_that_unpacks_to_gigabytes(bundle):
    zeros = bytes(1 << 20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for index in range(2):
            with file.open(f"waveform_{index}.npy", "w") as member:
                member.write(header((1, 150 << 18)))
                for _ in range(150):
                    member.write(zeros)
    (bundle / "golden.npz").write_bytes(buffer.getvalue())
    sign(bundle, "golden.npz")
    assert (bundle / "golden.npz").stat().st_size < 1 << 20
    damaged(bundle, "golden.npz", "unpacks")


@pytest.mark.parametrize(
    "content",
    [
        header((1, 1 << 50)) + bytes(64),
        header((1, -16)) + bytes(64),
        header((0, 16)),
        header((1, 8), "<f8") + bytes(64),
        header((1, 8), "|O") + bytes(64),
        header((1, 16)) + bytes(60),
        header((1, 16)) + bytes(68),
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"no array",
        b"",
    ],
)
def test_an_array_that_claims_what_it_is_not(bundle, content):
    archive(bundle, {"waveform_0.npy": content, "logits_0.npy": header((1, 3)) + bytes(12)})
    damaged(bundle, "golden.npz")


@pytest.mark.parametrize(
    "members",
    [{}, {"other.txt": b"x"}, {"waveform_0.npy": header((1, 16000)) + bytes(64000)}],
)
def test_an_archive_without_golden_sounds(bundle, members):
    archive(bundle, members)
    damaged(bundle, "golden.npz")


def test_a_waveform_that_the_graph_cannot_take(bundle):
    waveform = header((2, 2, 4)) + bytes(64)
    answer = header((1, 3)) + bytes(12)
    archive(bundle, {"waveform_0.npy": waveform, "logits_0.npy": answer, "mask_0.npy": answer})
    damaged(bundle, "frontend.onnx")


def test_no_golden_file_at_all(bundle):
    with edited(bundle / "bundle.json") as manifest:
        del manifest["files"]["golden.npz"]
    damaged(bundle, "golden.npz")


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda bundle: (bundle / "classifier.onnx").unlink(), "classifier.onnx"),
        (lambda bundle: (bundle / "classifier.onnx").write_bytes(b"x"), "classifier.onnx"),
        (lambda bundle: (bundle / "bundle.json").write_text("[" * 99999), "bundle.json"),
        (lambda bundle: (bundle / "bundle.json").write_text('{"schema_version": NaN}'), "bundle.json"),
        (lambda bundle: (bundle / "bundle.json").write_text('{"schema_version": 1e999}'), "bundle.json"),
        (lambda bundle: (bundle / "bundle.json").unlink(), "bundle.json"),
    ],
)
@pytest.mark.parametrize("verb", ["verify", "inspect", "explain"])
def test_every_verb_says_so_in_one_line(bundle, damage, word, verb):
    damage(bundle)
    arguments = (
        ["explain", str(bundle / "README.md"), "-b", str(bundle)]
        if verb == "explain"
        else [verb, str(bundle)]
    )
    result = invoke(*arguments, code=1, says=word)
    assert len(result.stderr.strip().splitlines()) == 1
    assert "defect" not in result.stderr
    assert result.stdout == ""
