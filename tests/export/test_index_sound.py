"""What `index --audio` keeps is the sound: its shape and its level, whatever that is; silence is left out."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from command_line import invoke

from earmark.errors import DataError
from earmark.export.prototypes.build import index_bundle
from earmark.export.prototypes.growth import merge_bundles
from earmark.prototypes_index.table import IndexedClip
from earmark.runtime.bundle.open import read_manifest
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.methods.prototypes.prototype import Place, Prototype
from earmark.runtime.opening import open_bundle

RATE = 16000
# Half a step of 24 bits at the sound's own peak is at most this share of it.
ONE_OF_24_BITS = 2.0**-23


def shape(samples=RATE, seed=0):
    wave = np.sin(np.arange(samples) * 0.3) * np.hanning(samples) + 0.01 * np.random.default_rng(seed).random(
        samples
    )
    return (wave / np.abs(wave).max()).astype(np.float32)


SOUNDS = {
    "peak 4": 4.0 * shape(),
    "100 dB down": 1e-5 * shape(seed=1),
    "full scale": shape(seed=2),
    "denormal": np.float32(1e-39) * shape(seed=3),
    "huge": np.float32(1e15) * shape(seed=4),
}


def index(bundle, folder, sounds, **options):
    """Index [N] or [N, channels] waves by name, as 32-bit float files of the class noise."""
    (folder / "noise").mkdir(parents=True)
    for name, wave in sounds.items():
        soundfile.write(folder / "noise" / f"{name}.wav", wave, RATE, subtype="FLOAT")
    return index_bundle(bundle, folder, **options)


def heard(bundle):
    """The sound of every file, as a prototype over the whole of it plays it."""
    generation = open_generation(bundle, open_bundle(bundle, examine=True).manifest)
    whole = {}
    for clip in generation.all_clips():
        whole_of_it = (0.0, 60.0, 0.0, 8000.0)
        found = ("time", clip.label, 1.0, clip.source, *whole_of_it, Place(*whole_of_it), ())
        one = Prototype(*found, crops_frequency=False, sound=generation.sound(clip), gain=clip.gain)
        whole[clip.source.removeprefix("noise/").removesuffix(".wav")] = one.audio()[0][0]
    return whole


@pytest.fixture(scope="module")
def bundle(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("levels")
    shutil.copytree(tiny_bundle, folder / "bundle")
    index(folder / "bundle", folder / "sounds", SOUNDS, audio=True)
    return folder / "bundle"


@pytest.mark.parametrize("name", list(SOUNDS))
def test_shape_and_level_are_kept_to_24_bits(bundle, name):
    wave, back = SOUNDS[name], heard(bundle)[name]
    assert back.shape == wave.shape
    peak = float(np.abs(wave).max())
    # The smallest numbers of float32 have fewer than 24 bits.
    step = max(peak * ONE_OF_24_BITS, float(np.finfo(np.float32).smallest_subnormal))
    assert np.abs(back.astype(np.float64) - wave).max() <= step


def test_sixteen_bits_come_back_bit_for_bit(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    values = np.random.default_rng(0).integers(-(2**15), 2**15, RATE, dtype=np.int16)
    values[:2] = -(2**15), 2**15 - 1
    (tmp_path / "sounds" / "noise").mkdir(parents=True)
    soundfile.write(tmp_path / "sounds" / "noise" / "a.flac", values, RATE, subtype="PCM_16")
    index_bundle(bundle, tmp_path / "sounds", audio=True)
    assert np.array_equal(heard(bundle)["a.flac"], values.astype(np.float32) / 2**15)


def test_levels_travel_with_the_clips(bundle, tiny_bundle, tmp_path):
    other = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    merge_bundles(other, [bundle])
    merged, before = heard(other), heard(bundle)
    assert merged.keys() == before.keys()
    assert all(np.array_equal(merged[name], before[name]) for name in before)


def test_explanations_play_prototypes_at_their_level(bundle):
    import earmark

    result = earmark.load(bundle, "cpu").explain(SOUNDS["peak 4"] / 4, RATE, methods=["prototypes"])
    best = {one.clip: one for one in result.prototypes["time"]}["noise/peak 4.wav"]
    start, end = (round(second * RATE) for second in (best.start_s, best.end_s))
    played = best.audio()[0][0]
    assert np.abs(played - SOUNDS["peak 4"][start:end]).max() <= 4.0 * ONE_OF_24_BITS
    around, _, first = best.around(0.5)
    begin = round(first * RATE)
    assert np.abs(around - SOUNDS["peak 4"][begin : begin + len(around)]).max() <= 4.0 * ONE_OF_24_BITS


def test_lines_without_a_gain_are_of_sound_at_its_own_level(tmp_path):
    """As generations before have them, the shipped one among them."""
    line = IndexedClip("a", "a.wav", "noise", 0.0, 1.0, "0" * 64, "a", audio="a.flac").to_line()
    assert "gain" not in json.loads(line)
    assert IndexedClip.from_line(line, tmp_path).gain == 1.0


@pytest.mark.parametrize("gain", ["0", "-1", "1e39", "null", '"2"', "1e999"])
def test_a_gain_that_cannot_be_is_damage(tmp_path, gain):
    from earmark.errors import PrototypeIndexError

    fields = json.loads(IndexedClip("a", "a.wav", "noise", 0.0, 1.0, "0" * 64, "a").to_line())
    line = json.dumps(fields)[:-1] + f', "gain": {gain}}}'
    with pytest.raises(PrototypeIndexError):
        IndexedClip.from_line(line.encode(), tmp_path)


# Silence

OPPOSITE = np.stack([shape(), -shape()], axis=1)
UNFIT = {"silent": np.zeros(RATE), "one sample": np.array([0.5]), "opposite": OPPOSITE}


def test_silence_and_single_samples_are_left_out_and_said(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    half = np.concatenate([shape(), np.zeros(3 * RATE)])
    report = index(bundle, tmp_path / "sounds", {**UNFIT, "half": half, "good": shape(seed=9)}, audio=True)
    assert (report.added, report.unreadable) == (2, [])
    assert {one.name: one.reason.partition(": ")[2] for one in report.unfit} == {
        "noise/silent.wav": "is silent, and silence is no prototype",
        "noise/one sample.wav": "is 1 samples long, less than the 25 ms of the model's analysis, and so is "
        "no prototype",
        "noise/opposite.wav": "is silent where its channels are mixed, and so is no prototype",
    }
    generation = open_generation(bundle, read_manifest(bundle))
    assert {clip.source for clip in generation.all_clips()} == {"noise/half.wav", "noise/good.wav"}
    assert all(clip.offset_s < 1.0 for clip in generation.all_clips())
    assert len(list((generation.folder / "audio").iterdir())) == 2
    assert any("noise/half.wav" in note and "windows are silent" in note for note in report.notes)


def test_the_command_says_what_was_left_out_and_does_not_fail(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    index(bundle, tmp_path / "first", {"good": shape()})
    (tmp_path / "sounds" / "noise").mkdir(parents=True)
    soundfile.write(tmp_path / "sounds" / "noise" / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "sounds" / "noise" / "other.wav", shape(seed=5), RATE)
    invoke(
        "index",
        bundle,
        tmp_path / "sounds",
        code=0,
        says=(
            "silent.wav: is silent, and silence is no prototype",
            "1 sounds added, 0 there already, 1 left out",
        ),
    )


def test_nothing_but_silence_is_an_error(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    with pytest.raises(DataError, match=r"none of the 1 sounds .* is silent"):
        index(bundle, tmp_path / "sounds", {"silent": np.zeros(RATE)})
    with pytest.raises(DataError, match="is silent"):
        index(bundle, tmp_path / "strict", {"silent": np.zeros(RATE)}, strict=True)
