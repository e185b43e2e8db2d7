"""How far a sound lies from all training sounds: percentiles of how far these lie from each other."""

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from changed_bundle import edited, rewritten, sign

import earmark
from earmark.errors import PrototypeIndexError
from earmark.evaluation.synthesis.clips import clip_of
from earmark.evaluation.synthesis.one_shots import RECIPES
from earmark.export.prototypes.growth import remove_clips
from earmark.prototypes_index.acoustics import MEASURES, held_out, statistics_in
from earmark.prototypes_index.checks import check_generation
from earmark.prototypes_index.familiarity import Usual, share
from earmark.prototypes_index.info import read_info, write_info
from earmark.prototypes_index.opening import read_generation
from earmark.runtime.audio.stft import forward
from earmark.runtime.json_schema import SCHEMA
from earmark.runtime.methods.prototypes.acoustics import acoustics_of
from earmark.runtime.methods.prototypes.bands import like_rows
from earmark.runtime.methods.prototypes.comparing import measure
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.methods.prototypes.inspection import inspect_prototypes
from earmark.runtime.opening import open_bundle

SHIPPED = Path(earmark.__file__).parent / "runtime" / "shipped" / "bundle"
RATE = 16_000
INFO, TABLE = (f"prototypes/g0001/{name}" for name in ("index_info.json", "acoustics.npy"))


def strange(seed):
    """A voice-like glide with vibrato, which no drum has."""
    time = np.arange(2 * RATE) / RATE
    random = np.random.default_rng(seed)
    pitch = random.uniform(180, 320) * (1 + 0.3 * np.sin(2 * np.pi * random.uniform(0.5, 2) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return sum(np.sin(k * phase) / k for k in range(1, 12)).astype(np.float32) * 0.3


def test_a_share_is_that_of_the_distribution_below():
    quantiles = (0.0, 0.5, 0.6, 0.6, 1.0)
    assert share(quantiles, -1.0) == 0.0
    assert share(quantiles, 2.0) == 1.0
    assert share(quantiles, 0.25) == pytest.approx(0.125)
    assert share(quantiles, 0.6) == pytest.approx(0.625)
    assert share(quantiles, 0.8) == pytest.approx(0.875)


def test_too_few_clips_say_nothing_and_views_are_of_the_same_clips():
    assert Usual.of({"time": [0.5] * 19}) is None
    assert Usual.of({"time": [0.5] * 30, "square": [0.5] * 29}) is None
    values = np.linspace(0.0, 1.0, 101)
    usual = Usual.of({"time": values, "square": values[::-1]})
    assert usual.clips == 101
    assert usual.views["time"] == pytest.approx(values)
    # One view is as high as the other is low: all means are a half.
    assert usual.whole({"time": 0.5, "square": 0.5}) == pytest.approx(0.5)
    assert usual.whole({"time": 0.1, "square": 0.1}) == 0.0


def test_what_is_usual_is_measured_beside_other_recordings():
    """By brute force over the vectors themselves."""
    bundle = open_bundle(SHIPPED)
    generation = open_generation(bundle.path, bundle.manifest)
    bands = bundle.manifest.feature_map.bands_hz
    nearest = {}
    for view in generation.views:
        vectors = generation.index(view).vectors(0, generation.info.views[view].entries)
        recordings = generation.clips["recording"][generation.entries(view)["clip"]]
        of_row = generation.entries(view)["row"]
        table = generation.queries(view)
        assert 64 <= len(table) <= 128
        for clip in range(generation.info.clips):
            own = table[table["clip"] == clip]
            cosines = own["vector"] @ vectors.T
            cosines[:, recordings == generation.clips["recording"][clip]] = -1.0
            rows = like_rows(view, own["row"].tolist(), bands)
            if rows is not None:
                cosines[~rows[:, of_row]] = -1.0
            nearest.setdefault(view, []).append(cosines.max())
    for usual in (measure(generation, bands), generation.info.usual):
        assert usual.clips == 64
        for view, values in nearest.items():
            expected = np.quantile(values, np.linspace(0, 1, 101))
            np.testing.assert_allclose(usual.views[view], expected, atol=1e-4)
    table = generation.statistics()
    of_class = [(generation.clip(clip).label, generation.clip(clip).id) for clip in table["clip"].tolist()]
    table = table[sorted(range(64), key=of_class.__getitem__)]
    clips = generation.clips[table["clip"]]
    held = held_out([statistics_in(one) for one in table], clips["label"], clips["recording"])
    assert len(held) == 64
    for row, (name, quantiles) in enumerate(generation.info.usual.acoustics.items()):
        assert name == MEASURES[row]
        expected = np.quantile([one.measures[row, one.own] for one in held], np.linspace(0, 1, 101))
        np.testing.assert_allclose(quantiles, expected, atol=1e-3)


def test_what_a_clip_is_like_are_the_statistics_of_its_sound(shipped):
    """Of the sound that the index keeps, which is 24 bits of what was indexed."""
    bundle = open_bundle(SHIPPED)
    generation = open_generation(bundle.path, bundle.manifest)
    for record in generation.statistics()[::16]:
        clip = generation.clip(int(record["clip"]))
        wave, rate = soundfile.read(generation.sound(clip), dtype="float32")
        wave, spec = wave[: 2 * rate], bundle.manifest.analysis
        expected = acoustics_of(np.abs(forward(wave, spec)), wave, rate, spec.hop)
        np.testing.assert_allclose(record["vector"], expected, atol=0.02)
        # All eight labels by their scores, as the model gives them.
        predictions = shipped.explain(wave, rate, methods=[]).predictions
        given = dict(zip(record["labels"].tolist(), record["scores"].tolist(), strict=True))
        for label, score in predictions:
            assert given[bundle.manifest.labels.index(label)] == pytest.approx(score, abs=1e-3)


def test_statistics_stay_with_their_clips_when_an_index_changes(tmp_path):
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    before = open_generation(bundle, open_bundle(bundle).manifest)
    vectors = {before.clip(int(one["clip"])).id: one["vector"].tolist() for one in before.statistics()}
    # By a list of who is gone, then written anew.
    for most, gone in ((1.0, "bell/*"), (0.0, "tom/*")):
        remove_clips(bundle, [gone], rebuild_share=most)
        generation = open_generation(bundle, open_bundle(bundle).manifest)
        table = generation.statistics()
        table = table[generation.alive[table["clip"]]]
        kept = {generation.clip(int(one["clip"])).id: one["vector"].tolist() for one in table}
        assert kept == {clip.id: vectors[clip.id] for clip in generation.all_clips()}
        assert generation.info.usual.clips == len(kept)
        known = {generation.info.labels[label] for label in generation.acoustics.labels}
        assert known == {clip.label for clip in generation.all_clips()}
    assert len(kept) == 48


def test_statistics_that_are_no_numbers_or_of_a_clip_twice_are_refused(tmp_path):
    manifest = open_bundle(SHIPPED).manifest
    folder = shutil.copytree(SHIPPED / "prototypes" / manifest.prototypes.generation, tmp_path / "generation")
    table = np.load(folder / "acoustics.npy")
    for row, name, value, error in (
        (7, "vector", np.nan, "not finite"),
        (7, "clip", table["clip"][8], "stands twice"),
        (7, "clip", 64, "damaged"),
    ):
        wrong = table.copy()
        wrong[name][row] = value
        np.save(folder / "acoustics.npy", wrong)
        with pytest.raises(PrototypeIndexError, match=f"acoustics.npy: .*{error}"):
            check_generation(read_generation(folder, manifest.prototypes))


@pytest.mark.parametrize("kind", [None, 1])
def test_an_index_without_these_statistics_is_asked_by_its_views_alone(tmp_path, kind):
    """From before there were any; or with those of an older kind, of other records and measures."""
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    with rewritten(bundle) as manifest, edited(bundle / INFO) as info:
        if kind is None:
            del info["acoustics"], info["usual"]["acoustics"], info["usual"]["joint"]
            del manifest["files"][TABLE]
            (bundle / TABLE).unlink()
        else:
            info["acoustics"]["kind"] = kind
            info["usual"]["acoustics"]["timbre"] = info["usual"]["acoustics"]["sound"]
            old = np.zeros(64, [("clip", "<i4"), ("label", "<i4"), ("vector", "<f4", (152,))])
            np.save(bundle / TABLE, old)
    sign(bundle, INFO, *([TABLE] if kind else []))
    with earmark.load(bundle, device="cpu") as explainer:
        result = explainer.explain(strange(1), RATE, methods=["prototypes"])
    assert result.familiarity.acoustics == {}
    assert result.familiarity.unfamiliar
    assert result.to_dict()["familiarity"]["acoustics"] == {}
    text = dict(inspect_prototypes(open_bundle(bundle)).lines)["  familiarity"]
    assert text.startswith("by square, time, frequency, time_frequency; beside 64 clips")
    assert ("older kind: `earmark index --rebuild`" in text) == (kind is not None)


def test_drums_are_familiar_and_a_voice_is_not(shipped):
    known = [
        shipped.explain(clip_of(label, 0, 5_000_000 + number).waveform, RATE, methods=["prototypes"])
        for number, label in enumerate(sorted(RECIPES))
    ]
    unknown = [shipped.explain(strange(seed), RATE, methods=["prototypes"]) for seed in range(4)]
    assert np.median([one.familiarity.percentile for one in known]) > 25.0
    for one in unknown:
        assert one.familiarity.percentile < 5.0
        assert any("unlike anything this model was trained on" in line for line in one.warnings)
        assert one.familiarity.unfamiliar
    flagged = [line for one in known for line in one.warnings if "unlike" in line]
    assert len(flagged) <= 2


def test_it_is_in_the_record_and_loaded_again(shipped, tmp_path):
    result = shipped.explain(strange(1), RATE, methods=["prototypes"])
    record = result.to_dict()
    jsonschema.validate(record, json.loads(SCHEMA.read_text()))
    given = record["familiarity"]
    assert given["clips"] == 64
    assert set(given["views"]) == {"square", "time", "frequency", "time_frequency"}
    assert set(given["acoustics"]) == {"sound", "margin", "score"}
    assert given["percentile"] == round(result.familiarity.percentile, 2)
    result.save(tmp_path / "out")
    again = earmark.Result.load(tmp_path / "out")
    assert again == result
    assert again.familiarity == result.familiarity
    assert any("unlike" in line for line in again.warnings)
    assert dict(result.lines())["familiar"] == result.familiarity.text


def test_nothing_is_said_without_like_bands_or_the_method(shipped):
    anywhere = shipped.explain(
        strange(1), RATE, methods=["prototypes"], options={"prototypes": {"bands": "any"}}
    )
    assert anywhere.familiarity is None
    assert not [line for line in anywhere.warnings if "unlike" in line]
    scores = shipped.explain(strange(1), RATE, methods=[])
    assert scores.to_dict()["familiarity"] is None


def test_quantiles_that_do_not_ascend_are_refused(tmp_path):
    import msgspec

    (generation,) = (SHIPPED / "prototypes").iterdir()
    info = read_info(generation)
    wrong = msgspec.structs.replace(info.usual, overall=(0.5, 0.1))
    from dataclasses import replace

    write_info(tmp_path, replace(info, usual=wrong))
    with pytest.raises(PrototypeIndexError, match="do not ascend"):
        read_info(tmp_path)
    write_info(tmp_path, replace(info, usual=msgspec.structs.replace(info.usual, joint=())))
    with pytest.raises(PrototypeIndexError, match="not those of all"):
        read_info(tmp_path)
    # An index of before has neither queries nor quantiles, and opens.
    write_info(tmp_path, replace(info, usual=None, queries={}))
    assert read_info(tmp_path).usual is None
