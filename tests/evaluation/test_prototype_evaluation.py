"""Judging nearest prototypes: shares of labels, deletion of their places, the table and its command."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from class_folders import write_clips
from command_line import invoke

import earmark
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.prototypes.judge import PrototypeJudgement, PrototypeRecord, judge_prototypes
from earmark.evaluation.settings import PrototypeSettings
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.inference.pipeline import BATCH

LABELS = ("snare", "bell", "kick")
SETTINGS = PrototypeSettings(draws=3, seed=1)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("sounds"), LABELS, 21, snr_db=25.0)


@pytest.fixture(scope="module")
def made(shipped, sounds):
    return judge_prototypes(shipped, list_sounds(sounds).clips, SETTINGS)


def test_records_say_what_the_explanation_says(shipped, sounds, made):
    assert (made.clips, made.known) == (6, [])
    clips = {clip.name: clip for clip in list_sounds(sounds).clips}
    assert len(made.records) == 6 * 4
    for record in made.records[::5]:
        clip = clips[record.clip]
        found = shipped.explain(clip.path, methods=["prototypes"]).prototypes[record.view]
        assert record.nearest == found[0].label
        assert record.share == np.mean([one.label == clip.label for one in found])
        assert 0.0 < record.size <= 1.0
        assert set(record.drops) == set(record.random) == {"silence", "level"}
    # Synthesised like the training clips, they are found among them.
    assert np.mean([record.nearest == record.label for record in made.records]) > 0.8


def test_the_same_again_whatever_else_is_judged(shipped, sounds, made):
    alone = judge_prototypes(shipped, list_sounds(sounds).clips[2:3], SETTINGS)
    before = [record for record in made.records if record.clip == alone.records[0].clip]
    for one, other in zip(alone.records, before, strict=True):
        # Another batch rounds otherwise.
        assert one.drops == pytest.approx(other.drops, abs=1e-4)
        assert one.random == pytest.approx(other.random, abs=1e-4)


def test_deleting_the_place_is_what_a_masked_sound_says(shipped, sounds):
    """The drop of a place, by hand: the cells of its seconds and Hz set to zero."""
    clip = list_sounds(sounds).clips[0]
    record = judge_prototypes(shipped, [clip], PrototypeSettings(fills=("silence",), draws=1)).records[1]
    assert record.view == "time"
    result = shipped.explain(clip.path, methods=["prototypes"])
    place = result.prototypes["time"][0].place
    wave, rate = soundfile.read(clip.path, dtype="float32")
    from earmark.runtime.audio.sound import open_sound

    (heard,) = engine_of(shipped).windows(open_sound((wave, rate), None, rate))
    spec = engine_of(shipped).manifest.analysis
    times = np.arange(len(heard.stft)) * spec.hop / rate
    hertz = np.arange(heard.stft.shape[1]) * rate / spec.n_fft
    outside = ~(
        ((times >= place.start_s) & (times < place.end_s))[:, None]
        & ((hertz >= place.fmin_hz) & (hertz < place.fmax_hz))
    )
    logits = engine_of(shipped).pipeline.logits_of_spectra(
        (heard.stft * outside[..., None])[None].astype(np.float32)
    )
    target = shipped.labels.index(record.target)
    assert record.drops["silence"] == pytest.approx(heard.logits[target] - logits[0, target], abs=1e-4)
    assert record.size == pytest.approx((~outside).mean(), rel=0.1)
    assert BATCH > 1


def test_the_table_pairs_place_and_random():
    def record(number, drop, random):
        return PrototypeRecord(
            clip=str(number),
            recording=str(number // 2),
            label="a",
            target="a",
            view="time",
            nearest="a" if number % 4 else "b",
            similarity=0.5,
            share=0.5,
            prototypes=0.0,
            size=0.1,
            drops={"silence": drop},
            random={"silence": random},
        )

    random = np.random.default_rng(0)
    drops = random.standard_normal(40) + 2.0
    judged = PrototypeJudgement([record(n, d, d - 0.25) for n, d in enumerate(drops)], clips=40)
    (row,) = judged.table().rows
    assert row["first"].estimate == 0.75
    assert (row["first"].count, row["first"].groups) == (40, 20)
    assert row["silence_gap"].estimate == pytest.approx(0.25)
    assert row["silence_gap"].low == pytest.approx(0.25)
    assert row["silence_drop"].low < row["silence_drop"].estimate < row["silence_drop"].high


def test_command(sounds, tmp_path):
    arguments = ["evaluate", "prototypes", str(SHIPPED), str(sounds)]
    document = json.loads(invoke(*arguments, "--json", "--records", tmp_path / "r.jsonl", code=0).stdout)
    assert [row["view"] for row in document["prototypes"]["rows"]] == [
        "square",
        "time",
        "frequency",
        "time_frequency",
    ]
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 24
    invoke(*arguments, "--area", "0.2", code=2)
    invoke(*arguments, "--events", tmp_path / "r.jsonl", code=2)


def test_what_is_indexed_is_not_asked(sounds, tmp_path):
    from earmark.export.prototypes.build import index_bundle

    shutil.copytree(SHIPPED, tmp_path / "bundle")
    index_bundle(tmp_path / "bundle", sounds, extend=False)
    explainer = earmark.load(tmp_path / "bundle", device="cpu")
    made = judge_prototypes(explainer, list_sounds(sounds).clips, PrototypeSettings(fills=()))
    assert (made.clips, len(made.known), made.records) == (0, 6, [])
    invoke("evaluate", "prototypes", tmp_path / "bundle", sounds, code=1, says="no clip is left")
