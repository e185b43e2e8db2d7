"""Indexing a real bundle, and explaining with its prototypes."""

import json
import re
import shutil

import faiss
import msgspec
import numpy as np
import pytest
import soundfile
from changed_bundle import rewritten, sign
from command_line import invoke
from prototype_generations import LABELS, RATE, write_sounds
from refusals import refuses
from runtime_sounds import run_python

import earmark
from earmark.errors import BundleError, DataError, LabelError, MethodError, PrototypeIndexError
from earmark.export.bundle.manifest_file import manifest_lock, replace_manifest
from earmark.export.prototypes.build import index_bundle
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.bundle.open import read_manifest
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.window import WindowPlan
from earmark.runtime.methods.protocol import Sound
from earmark.runtime.methods.prototypes.explanation import PrototypesExplanation
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.methods.prototypes.search import Search
from earmark.runtime.opening import open_bundle
from earmark.runtime.verify import verify


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def indexed(tiny_bundle, sounds, tmp_path_factory):
    """A bundle with prototypes and sound. Shared: copy it before changing it."""
    path = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("indexed") / "bundle")
    report = index_bundle(path, sounds, audio=True, attributions={"noise/a0_0.wav": "me, CC0"})
    return path, report


@pytest.fixture
def bundle(indexed, tmp_path):
    return shutil.copytree(indexed[0], tmp_path / "bundle")


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_report_manifest_and_files_agree(indexed, sounds):
    path, report = indexed
    manifest = open_bundle(path, examine=True).manifest
    spec = manifest.prototypes
    assert (report.generation, report.sources, report.added) == ("g0001", 9, 9)
    # 2.3 s is heard in windows of 1 s every 0.5 s, the last one aligned to the end.
    assert spec.clips == report.clips == 3 * (1 + 1 + 4)
    assert "prototypes" in manifest.explainers
    assert spec.audio
    listed = {name for name in manifest.files if name.startswith("prototypes/")}
    assert listed == {
        f"prototypes/{path_.relative_to(path / 'prototypes')}"
        for path_ in (path / "prototypes").rglob("*")
        if path_.is_file()
    }
    generation = open_generation(path, manifest)
    clips = list(generation.all_clips())
    assert {clip.source for clip in clips} == {
        file.relative_to(sounds).as_posix() for file in sounds.rglob("*.wav")
    }
    offsets = [clip.offset_s for clip in clips if clip.source == "noise/c0_2.wav"]
    assert offsets == pytest.approx([0.0, 0.5, 1.0, 1.3], abs=0.011)
    assert [clip.attribution for clip in clips if clip.source == "noise/a0_0.wav"] == ["me, CC0"]
    for view in generation.views:
        entries = generation.entries(view)
        assert (entries["end_s"] > entries["start_s"]).all()
        for entry in entries:
            clip = clips[entry["clip"]]
            assert generation.info.labels[entry["label"]] == clip.label
            assert clip.offset_s - 1e-6 <= entry["start_s"]
            assert entry["end_s"] <= clip.offset_s + clip.duration_s + 1e-6


def test_a_training_clip_finds_itself(indexed, sounds):
    explainer = earmark.load(indexed[0], device="cpu")
    for name in ("noise/b0_1.wav", "whistle/a0_0.wav", "low hum/c0_2.wav"):
        result = explainer.explain(sounds / name, methods=["prototypes"])
        assert set(result.prototypes) == {"square", "time", "frequency", "time_frequency"}
        for view, matches in result.prototypes.items():
            assert matches[0].clip == name, view
            assert matches[0].similarity == pytest.approx(1.0, abs=1e-5)
            assert matches[0].label == name.partition("/")[0]
            similarities = [match.similarity for match in matches]
            assert similarities == sorted(similarities, reverse=True)
            assert len({match.clip for match in matches}) == len(matches)
            # Few of the nine sounds have a passage of like length and rhythm.
            assert len(matches) == 5 or (view == "time" and matches)
            place = matches[0].place
            assert matches[0].start_s == pytest.approx(place.start_s, abs=1e-6)
            assert matches[0].fmin_hz == pytest.approx(place.fmin_hz, abs=1e-6)
        json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize("label", LABELS)
def test_the_account_adds_up_for_any_target(indexed, sounds, label):
    explainer = earmark.load(indexed[0], device="cpu")
    result = explainer.explain(sounds / "noise/c0_2.wav", methods=["prototypes"], target=label)
    account = result.channels
    assert account.label == label
    assert account.additive
    assert account.error < 1e-4
    total = sum(channel.contribution for channel in account) + account.bias + account.remainder
    assert total == pytest.approx(account.logit, abs=1e-5)
    contributions = [channel.contribution for channel in account]
    assert contributions == sorted(contributions, reverse=True)
    assert 0.0 <= account.start_s < account.end_s <= 2.3 + 1e-6
    for channel in account:
        assert account.start_s - 1e-6 <= channel.place.start_s < channel.place.end_s <= account.end_s + 1e-6
        assert len({one.clip for one in channel.prototypes}) == len(channel.prototypes) == 3


def test_audio_is_the_place_in_the_clip(indexed, sounds):
    explainer = earmark.load(indexed[0], device="cpu")
    result = explainer.explain(sounds / "whistle/b0_1.wav", methods=["prototypes"])
    whole, _ = soundfile.read(sounds / "whistle/b0_1.wav", dtype="float32")
    seconds = len(whole) / RATE
    match = result.prototypes["time"][0]
    wave, rate = match.audio()
    assert rate == 16000
    assert wave.shape == (1, round((match.end_s - match.start_s) * rate))
    assert wave.dtype == np.float32
    # The view localises no band: the crop is the file's own sound at that time, resampled.
    start = int(match.start_s * RATE)
    expected = np.sqrt(np.mean(whole[start : int(match.end_s * RATE)] ** 2))
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(expected, rel=0.1)
    band = result.prototypes["frequency"][0]
    wave, _ = band.audio()
    assert wave.shape[1] == pytest.approx(seconds * rate, abs=2)
    power = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1]))) ** 2
    hertz = np.fft.rfftfreq(wave.shape[1], 1 / rate)
    inside = (hertz > 0.8 * band.fmin_hz) & (hertz < 1.2 * band.fmax_hz)
    assert power[inside].sum() > 0.9 * power.sum()


def test_without_sound_the_source_file_is_named(tiny_bundle, sounds, tmp_path):
    path = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    explainer = earmark.load(path, device="cpu")
    with pytest.raises(MethodError, match="earmark index"):
        explainer.explain(sounds / "noise/b0_1.wav", methods=["prototypes"])
    index_bundle(path, sounds)
    result = earmark.load(path, device="cpu").explain(sounds / "noise/b0_1.wav", methods=["prototypes"])
    refuses(MethodError, r"noise/b0_1\.wav", result.prototypes["time"][0].audio)


def alike(name, one, other):
    """Whether files agree; their numbers but for rounding, which depends on the clips beside them."""
    if name.endswith((".npy", ".faiss")):
        numbers = [np.frombuffer(content[: len(content) // 4 * 4], "<f4") for content in (one, other)]
        same = len(one) == len(other)
    else:
        numbers = [np.array(re.findall(rb"-?\d+\.\d+", content), np.float64) for content in (one, other)]
        same = re.sub(rb"-?\d+\.\d+", b"", one) == re.sub(rb"-?\d+\.\d+", b"", other)
    return same and np.allclose(*numbers, atol=1e-5, equal_nan=True)


def test_extending_skips_what_is_there_and_equals_a_rebuild(bundle, sounds, tmp_path):
    before = contents(bundle)
    report = index_bundle(bundle, sounds)
    assert (report.added, len(report.repeated), report.generation) == (0, 9, "g0001")
    assert contents(bundle) == before, "nothing new changes nothing"
    more = write_sounds(tmp_path / "more", takes=2, seed=1)
    report = index_bundle(bundle, more)
    assert (report.added, report.sources, report.generation) == (6, 15, "g0002")
    assert read_manifest(bundle).prototypes.audio, "sound is kept as before"
    again = index_bundle(bundle, [sounds, more], extend=False, audio=True)
    assert again.generation == "g0003"
    second, third = (bundle / "prototypes" / name for name in ("g0002", "g0003"))
    extended, rebuilt = contents(second), contents(third)
    assert set(extended) == set(rebuilt)
    for name in set(extended) - {"clips.jsonl", "clips.npy"}:  # the one attribution differs
        assert alike(name, extended[name], rebuilt[name]), name
    open_bundle(bundle, examine=True)
    report = index_bundle(bundle, sounds, prune=True)
    assert report.removed == ["g0001"]
    assert sorted(path.name for path in (bundle / "prototypes").iterdir()) == ["g0002", "g0003"]


def test_many_entries_are_searched_approximately(tiny_bundle, sounds, tmp_path):
    path = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    report = index_bundle(path, sounds, exact_limit=50)
    info = json.loads((path / "prototypes/g0001/index_info.json").read_text())
    assert info["views"]["square"]["kind"] == "ivf"
    assert report.recall_at_10["square"] == info["views"]["square"]["recall_at_10"] > 0.9
    result = earmark.load(path, device="cpu").explain(sounds / "noise/b0_1.wav", methods=["prototypes"])
    assert result.prototypes["square"][0].clip == "noise/b0_1.wav"


def test_foreign_labels_need_leave(bundle, tmp_path):
    foreign = write_sounds(tmp_path / "foreign", takes=1, seed=5, labels=("whistel", "noise"))
    refuses(LabelError, "nearest: whistle", index_bundle, bundle, foreign)
    report = index_bundle(bundle, foreign, any_label=True)
    assert report.added == 2
    generation = open_generation(bundle, read_manifest(bundle))
    assert generation.info.labels == [*read_manifest(bundle).labels, "whistel"]


def test_unreadable_sounds_are_listed_or_refused(bundle, tmp_path):
    data = write_sounds(tmp_path / "data", takes=1, seed=7)
    (data / "noise" / "text.wav").write_text("not sound at all")
    soundfile.write(data / "noise" / "nan.wav", np.full(8000, np.nan), 16000, subtype="FLOAT")
    soundfile.write(data / "noise" / "empty.wav", np.zeros(0), 16000)
    before = contents(bundle)
    refuses(earmark.EarmarkError, r"noise/.*\.wav", index_bundle, bundle, data, strict=True)
    assert contents(bundle) == before
    report = index_bundle(bundle, data)
    assert report.added == 3
    assert {passed.name for passed in report.unreadable} == {
        "noise/text.wav",
        "noise/nan.wav",
        "noise/empty.wav",
    }
    for name in ("low hum", "whistle"):
        shutil.rmtree(data / name)
    for path in (data / "noise").glob("*_*.wav"):
        path.unlink()
    refuses(DataError, "none of the 3 sounds", index_bundle, bundle, data, extend=False)


def test_one_writer_at_a_time(bundle, sounds):
    with manifest_lock(bundle), pytest.raises(BundleError, match="another process"):
        index_bundle(bundle, sounds)


def test_prototypes_of_another_model_are_refused(bundle, sounds):
    manifest = read_manifest(bundle)
    other = {
        **manifest.files,
        "classifier.onnx": msgspec.structs.replace(manifest.files["classifier.onnx"], sha256="0" * 64),
    }
    with pytest.raises(PrototypeIndexError, match="another model"):
        open_generation(bundle, msgspec.structs.replace(manifest, files=other))
    name = "prototypes/g0001/embeddings.onnx"
    other = {**manifest.files, name: msgspec.structs.replace(manifest.files[name], sha256="0" * 64)}
    with pytest.raises(PrototypeIndexError, match="embeddings graph"):
        open_generation(bundle, msgspec.structs.replace(manifest, files=other))


def test_counts_that_disagree_are_refused_by_the_runtime(bundle, sounds):
    manifest = read_manifest(bundle)
    spec = msgspec.structs.replace(manifest.prototypes, entries={**manifest.prototypes.entries, "time": 7})
    replace_manifest(bundle, msgspec.structs.replace(manifest, prototypes=spec))
    with pytest.raises(PrototypeIndexError, match="7"):
        earmark.load(bundle, device="cpu").explain(sounds / "noise/b0_1.wav", methods=["prototypes"])


def test_damaged_prototypes_can_be_built_again(bundle, sounds):
    (bundle / "prototypes/g0001/time.faiss").unlink()
    refuses(BundleError, r"time\.faiss", index_bundle, bundle, sounds)
    report = index_bundle(bundle, sounds, extend=False)
    assert (report.generation, report.sources) == ("g0002", 9)
    open_bundle(bundle, examine=True)


def test_command(bundle, tmp_path, sounds):

    data = write_sounds(tmp_path / "data", takes=1, seed=21)
    table = tmp_path / "who.csv"
    table.write_text("file,author,licence\nnoise/a21_0.wav,somebody,CC-BY\n")
    arguments = ["index", str(bundle), str(data), "--attribution", str(table), "--json"]
    done = invoke(*arguments, code=0)
    document = json.loads(done.stdout)
    assert (document["added"], document["generation"]) == (3, "g0002")
    assert "3 sounds added" in done.stderr
    clips = open_generation(bundle, read_manifest(bundle)).all_clips()
    assert "somebody, CC-BY" in {clip.attribution for clip in clips}
    (data / "noise" / "bad.wav").write_text("no sound")
    invoke("index", bundle, data, code=1, says="bad.wav")
    invoke("index", tmp_path / "none", data, code=2)
    empty = tmp_path / "empty"
    empty.mkdir()
    invoke("index", empty, data, code=1)


def test_indexing_imports_no_torch(bundle, sounds):
    said = run_python(
        """
        import sys; from earmark.export.prototypes.build import index_bundle
        index_bundle(*sys.argv[1:])
        print(sorted({'torch', 'matplotlib', 'sklearn'} & set(sys.modules)))
        """,
        bundle,
        sounds,
    )
    assert said.strip() == "[]"


def test_a_head_that_is_not_additive_gives_localisation_only(indexed, sounds):
    explainer = earmark.load(indexed[0], device="cpu")
    manifest = engine_of(explainer).manifest
    spec = msgspec.structs.replace(manifest.feature_map, additive=False, pooling="other")
    manifest = msgspec.structs.replace(manifest, feature_map=spec)
    generation = open_generation(indexed[0], engine_of(explainer).manifest)
    graph = generation.folder / "embeddings.onnx"
    method = Search(
        manifest, generation, lambda z: engine_of(explainer).sessions.run_graph(graph, {spec.tap: z})
    )
    opened = open_sound(sounds / "noise/c0_2.wav", None, manifest.sample_rate)
    account = PrototypesExplanation(method, Sound(opened.samples, 4, WindowPlan(RATE, RATE)), 1)
    for heard in engine_of(explainer).windows(opened):
        account.add(heard, account.ask(heard))
    fields = account.finish().fields()
    channels = fields["channels"]
    assert not channels.additive
    assert "localisation only" in channels.note
    assert (channels.bias, channels.remainder, channels.error) == (None, None, None)
    assert all(channel.contribution is None for channel in channels)
    assert fields["prototypes"]["square"][0].clip == "noise/c0_2.wav"
    json.dumps(channels.to_dict(), allow_nan=False)


def test_padding_of_a_short_sound_holds_no_place(indexed):
    explainer = earmark.load(indexed[0], device="cpu")
    wave = 0.3 * np.random.default_rng(0).standard_normal(800).astype(np.float32)
    result = explainer.explain(wave, sample_rate=16000, methods=["prototypes"])
    for matches in result.prototypes.values():
        assert all(0.0 <= match.place.start_s < match.place.end_s <= 0.05 + 1e-6 for match in matches)


# What verify finds of a bundle whose hashes are all true.


@pytest.mark.parametrize(
    ("field", "value"),
    [("sample_rate", 48000), ("window", {"seconds": 0.75, "hop_seconds": 0.3, "minimum_seconds": 0.7}),
     ("frame_seconds", 1e-300)],
)  # fmt: skip
def test_settings_of_prototypes_agree_with_the_manifest(bundle, field, value):
    with rewritten(bundle) as manifest:
        held = manifest["feature_map"] if field == "frame_seconds" else manifest
        held[field] = value
    for look in (verify, earmark.load):
        refuses(BundleError, "the manifest says", look, bundle, "cpu")


@pytest.mark.parametrize("view", ["square", "time", "time_frequency"])
def test_rows_that_were_reversed_are_found(bundle, view):
    folder = bundle / "prototypes" / "g0001"
    index = faiss.read_index(str(folder / f"{view}.faiss"))
    vectors = index.reconstruct_n(0, index.ntotal)
    index.reset()
    index.add(np.ascontiguousarray(vectors[::-1]))
    faiss.write_index(index, str(folder / f"{view}.faiss"))
    sign(bundle, f"prototypes/g0001/{view}.faiss")
    refuses(PrototypeIndexError, "is not what it was", verify, bundle, "cpu")


@pytest.mark.parametrize("wave", [np.zeros(100), np.zeros(16000 * 9)], ids=["short", "silent"])
def test_sounds_of_prototypes_hold_their_clips(bundle, wave):
    name = sorted((bundle / "prototypes/g0001/audio").iterdir())[0]
    soundfile.write(name, wave, 16000, format="FLAC", subtype="PCM_24")
    sign(bundle, name.relative_to(bundle).as_posix())
    refuses(PrototypeIndexError, "its clips need" if len(wave) == 100 else "silent", verify, bundle, "cpu")


def test_an_indexed_bundle_is_verified(bundle):
    assert all(check.passed for check in verify(bundle, "cpu")[1])
    assert (bundle / "prototypes/g0001/golden.json").stat().st_size < 200_000
