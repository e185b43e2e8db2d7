"""`Result.load` gives back what `save` wrote, for every method; folders of strangers are refused."""

import json
import pickle
import zipfile

import numpy as np
import pytest
import soundfile
from refusals import refuses
from runtime_sounds import RATE, tone

import earmark
from earmark.runtime.detections.clips import write_clip
from earmark.runtime.result_files.arrays import DOCUMENT, read_arrays, write_arrays

METHODS = ["mask", "components", "prototypes", "segments"]


@pytest.fixture(scope="module")
def result(components_bundle):
    """Every method over the shipped model, on two channels."""
    wave = np.stack([tone(), tone(seed=1)])
    with earmark.load(components_bundle, "cpu") as explainer:
        yield explainer.explain(
            wave, RATE, methods=METHODS, rescore=True, options={"segments": {"calls": 40}}, seed=5
        )


@pytest.fixture(scope="module")
def saved(result, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "out"
    result.save(folder)
    return folder


def test_every_part_comes_back(result, saved):
    loaded = earmark.Result.load(saved)
    assert list(loaded.parts) == METHODS
    for name in METHODS:
        assert loaded.parts[name] == result.parts[name], name
    assert loaded == result
    assert loaded.settings == result.settings
    assert loaded.settings.methods["segments"]["calls"] == 40
    assert loaded.timings == result.timings
    assert loaded.to_dict(windows=True) == result.to_dict(windows=True)
    assert list(loaded.lines()) == list(result.lines())


def test_its_sound_comes_back(result, saved):
    loaded = earmark.Result.load(saved)
    np.testing.assert_array_equal(loaded.mask.audio, result.mask.audio)
    np.testing.assert_array_equal(loaded.mask.residual, result.mask.residual)
    np.testing.assert_array_equal(loaded.components.audio, result.components.audio)
    np.testing.assert_array_equal(loaded.components.residual, result.components.residual)
    for index in result.components.selected:
        np.testing.assert_array_equal(loaded.components[index].audio(), result.components[index].audio())
    nearest, again = result.prototypes["time"][0], loaded.prototypes["time"][0]
    np.testing.assert_array_equal(again.audio()[0], nearest.audio()[0])
    assert again.audio()[1] == nearest.audio()[1]
    channel = result.channels[0]
    np.testing.assert_array_equal(
        loaded.channels[0].prototypes[0].audio()[0], channel.prototypes[0].audio()[0]
    )


def test_what_is_loaded_can_be_saved_and_pickled(result, saved, tmp_path):
    loaded = earmark.Result.load(saved)
    loaded.save(tmp_path / "again")
    again = earmark.Result.load(tmp_path / "again")
    assert again == result
    assert pickle.loads(pickle.dumps(again)) == result
    np.testing.assert_array_equal(again.mask.audio, result.mask.audio)
    for name in ("mask.png", "components.png", "segments.png"):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_numpy_reads_the_arrays_alone(result, saved):
    with np.load(saved / "arrays.npz") as arrays:
        np.testing.assert_array_equal(arrays["mask.values"], result.mask.values)
        np.testing.assert_array_equal(arrays["logits"], result.logits)
        np.testing.assert_array_equal(arrays["scores"], result.windows.scores)


@pytest.mark.parametrize("kind", ["flac", "wav16"])
def test_sixteen_bits(result, tmp_path, kind):
    result.save(tmp_path / "out", format=kind)
    loaded = earmark.Result.load(tmp_path / "out")
    assert loaded == result
    assert soundfile.info(tmp_path / "out" / f"kept.{kind[:4].replace('wav1', 'wav')}").subtype == "PCM_16"
    np.testing.assert_allclose(loaded.mask.audio, np.clip(result.mask.audio, -1, 1), atol=2**-15)


@pytest.mark.parametrize("gain", [3e4, 1e-6])
def test_what_sixteen_bits_cannot_hold_is_float(shipped, tmp_path, gain):
    wave = (gain * tone()).astype(np.float32)
    result = shipped.explain(wave, RATE, methods=["mask"])
    result.save(tmp_path / "out", format="flac")
    loaded = earmark.Result.load(tmp_path / "out")
    np.testing.assert_array_equal(loaded.mask.audio, result.mask.audio)
    np.testing.assert_array_equal(loaded.mask.residual, result.mask.residual)

    def written(detection, clip):
        files = write_clip(tmp_path / "clips", detection.label, detection, clip, "flac")
        assert files.kept == f"{detection.label}_kept.wav"
        np.testing.assert_array_equal(soundfile.read(tmp_path / "clips" / files.clip)[0], wave)

    label = result.target
    found = shipped.detect(wave, RATE, min_score=0.0, labels=[label], on_detection=written)
    assert [one.label for one in found] == [label]


def test_clips_lie_where_the_evidence_does(result, tmp_path):
    result.save(tmp_path / "out", audio="clips", format="flac")
    clips = sorted(path.name for path in (tmp_path / "out").glob("kept*"))
    assert clips == [f"kept_{number:02d}.flac" for number in range(1, len(result.mask.spans) + 1)]
    start, end = result.mask.spans[0]
    assert soundfile.info(tmp_path / "out" / clips[0]).frames == round(end * RATE) - round(start * RATE)
    loaded = earmark.Result.load(tmp_path / "out")
    assert loaded == result
    with pytest.raises(earmark.MethodError, match=r"audio='clips', without the sound kept; explain again"):
        _ = loaded.mask.audio


def test_without_sound_and_without_arrays(result, tmp_path):
    result.save(tmp_path / "out", audio="none", arrays=False)
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert names == {
        *("result.json", "mask.png", "components.png", "prototypes.png", "channels.png"),
        *("segments.png", "segments.csv"),
    }
    with pytest.raises(earmark.DataError, match=r"arrays=True, or earmark explain --arrays"):
        earmark.Result.load(tmp_path / "out")
    refuses(earmark.DataError, "is not there", earmark.Result.load, tmp_path / "nowhere")
    for asked, said in (
        ({"audio": "all"}, "audio is 'all': give one of none, clips, full"),
        ({"format": "mp3"}, "format is 'mp3'"),
    ):
        refuses(earmark.MethodError, said, result.save, tmp_path / "out", **asked)


def test_large_arrays_stay_in_the_file(tmp_path):
    large = np.arange(5 << 20, dtype=np.float32).reshape(1024, -1)
    with (tmp_path / "arrays.npz").open("wb") as file:
        write_arrays(file, {"name": "caf\udce9"}, {"small": large[:2], "large": large, "turned": large.T})
    document, arrays = read_arrays(tmp_path / "arrays.npz")
    assert document == {"name": "caf\udce9"}
    assert [type(arrays[name]) is np.memmap for name in ("small", "large", "turned")] == [False, True, True]
    np.testing.assert_array_equal(arrays["large"], large)
    np.testing.assert_array_equal(arrays["turned"], large.T)
    np.testing.assert_array_equal(arrays["small"], large[:2])


# Folders of strangers


def _changed(saved, target, document=None, drop=(), arrays=None):
    """The saved arrays.npz with other values in its document, without some arrays, or with other ones."""
    target.mkdir()
    found, there = read_arrays(saved / "arrays.npz")
    if document is not None:
        document(found)
    there = {name: array for name, array in there.items() if name not in drop} | (arrays or {})
    with (target / "arrays.npz").open("wb") as file:
        write_arrays(file, found, there)
    return target


def _set(*path):
    def change(document):
        for name in path[:-2]:
            document = document[name]
        document[path[-2]] = path[-1]

    return change


@pytest.mark.parametrize(
    "change",
    [
        {"document": _set("target", "no such label")},
        {"document": _set("labels", 3)},
        {"document": _set("labels", ["a", "b"])},
        {"document": _set("parts", "mask", {})},
        {"document": _set("parts", "mask", "warnings", 5)},
        {"document": _set("parts", "components", "selected", [99])},
        {"document": _set("parts", "prototypes", "channels", None)},
        {"document": _set("parts", [])},
        {"drop": ["logits"]},
        {"drop": ["mask.values"]},
        {"drop": ["segments.importance"]},
        {"drop": ["prototypes.window_0"]},
        {"arrays": {"mask.values": np.zeros((2, 2), np.float32)}},
        {"arrays": {"segments.importance": np.zeros(1)}},
        {"arrays": {"components.activations": np.zeros((1, 1), np.float32)}},
        {"arrays": {"start_s": np.zeros(70)}},
    ],
)
def test_what_does_not_fit_is_refused(saved, tmp_path, change):
    folder = _changed(saved, tmp_path / "changed", **change)
    refuses(earmark.DataError, r"arrays\.npz: is damaged", earmark.Result.load, folder)


def test_no_path_comes_from_the_file(saved, tmp_path):
    """A prototype's sound lies in the bundle; a folder from a stranger may not say where."""
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, np.zeros(10), RATE)

    def point(document):
        document["parts"]["prototypes"]["prototypes"]["time"][0]["sound"] = str(secret)

    with pytest.raises(earmark.DataError, match="is damaged"):
        earmark.Result.load(_changed(saved, tmp_path / "a", point))
    folder = _changed(saved, tmp_path / "b")
    (folder / "kept.wav").symlink_to(secret)
    with pytest.raises(earmark.MethodError, match="without the sound kept"):
        _ = earmark.Result.load(folder).mask.audio


def test_sound_of_another_length_is_refused(saved, tmp_path):
    folder = _changed(saved, tmp_path / "a")
    for length, said in ((10, "is not the sound of this result"), (10 * RATE, "is longer than may be read")):
        soundfile.write(folder / "kept.wav", np.zeros((length, 2)), RATE)
        with pytest.raises(earmark.DataError, match=said):
            _ = earmark.Result.load(folder).mask.audio


def test_a_newer_schema_and_unknown_methods(saved, tmp_path):
    with pytest.raises(earmark.DataError, match="was written by a newer earmark"):
        earmark.Result.load(_changed(saved, tmp_path / "a", _set("schema_version", 99)))
    loaded = earmark.Result.load(_changed(saved, tmp_path / "b", _set("parts", "elsewhere", {"x": 1})))
    assert list(loaded.parts) == METHODS
    assert loaded.warnings[-1] == "elsewhere: what this method gave was not loaded; it is not installed here"


def _write(path, members, compression=zipfile.ZIP_STORED):
    path.mkdir()
    with zipfile.ZipFile(path / "arrays.npz", "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_archives_of_strangers(tmp_path):
    document = (DOCUMENT, json.dumps({}))
    evil = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "evil.npy", evil, allow_pickle=True)
    header = (
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    )
    cases = {
        "bomb": _write(tmp_path / "bomb", [(DOCUMENT, "0" * 10_000_000)], zipfile.ZIP_DEFLATED),
        "pickle": _write(tmp_path / "pickle", [document, ("a.npy", (tmp_path / "evil.npy").read_bytes())]),
        "claims": _write(tmp_path / "claims", [document, ("a.npy", header.ljust(127) + b"\n")]),
        "other": _write(tmp_path / "other", [document, ("../../etc/passwd", b"x")]),
        "empty": _write(tmp_path / "empty", []),
        "deep": _write(tmp_path / "deep", [(DOCUMENT, "[" * 200_000)]),
    }
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "arrays.npz").write_text("no archive")
    for folder in (*cases.values(), tmp_path / "text"):
        refuses(earmark.DataError, r"arrays\.npz: ", earmark.Result.load, folder)
