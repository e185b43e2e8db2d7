"""The judge: a planted truth comes out perfect, the shipped decoder beats chance, order does not matter."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import soundfile
from class_folders import write_clips

import earmark
from earmark.errors import MethodError
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.faithfulness.conditions import Condition
from earmark.evaluation.faithfulness.evaluate import curves, differences, summary
from earmark.evaluation.faithfulness.judge import Plan, judge
from earmark.evaluation.faithfulness.maskers import MASKERS, Masker, masker_of, top_share
from earmark.evaluation.rescoring import domains_of, rescore
from earmark.evaluation.synthesis.clips import make_clip, write_folder
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.audio.stft import as_complex, forward
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.chain import ForwardPass
from earmark.runtime.inference.window import Window

RATE = 16_000


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two synthesised clips of each of the shipped bundle's classes, none of them trained on."""
    folder = write_clips(tmp_path_factory.mktemp("clips"), earmark.load(device="cpu").labels, 99)
    return list_sounds(folder).clips


def clean(clips):
    return Condition("clean", RATE, 0, clips)


@pytest.fixture(scope="module")
def judged(shipped, clips):
    plan = Plan([masker_of(name) for name in MASKERS], domains_of(engine_of(shipped)))
    return judge(engine_of(shipped), clips, clean(clips), plan)


def cell(table, key, method, domain="spectrogram"):
    rows = [row for row in table.rows if (row["method"], row["domain"]) == (method, domain)]
    assert len(rows) == 1
    return rows[0][key]


@dataclass
class TwoTones:
    """A model that hears "low" or "high": which half of the spectrum is louder, and how surely."""

    manifest: object

    @property
    def pipeline(self):
        return self

    def _logits(self, spectrogram):
        half = spectrogram.shape[-1] // 2
        low, high = spectrogram[..., :half], spectrogram[..., half:]
        loudness = np.stack([np.square(part).sum(axis=(-2, -1)) for part in (low, high)], axis=-1)
        return (2.0 * np.log(loudness + 1e-6)).astype(np.float32)

    def logits_of_spectra(self, spectra):
        return self._logits(np.abs(as_complex(spectra)))

    def logits_of(self, waveforms):
        return self._logits(np.abs(forward(waveforms, self.manifest.analysis)))

    def windows(self, opened):
        wave = next(opened.model_blocks())
        stft = forward(wave[0], self.manifest.analysis)
        stft = np.stack([stft.real, stft.imag], axis=-1)
        batch = ForwardPass(wave, stft[None], self.logits_of(wave), {}, self.manifest.analysis, spectral=True)
        yield Window(wave[0], wave, 0, batch)


@pytest.fixture
def tones(shipped, tmp_path):
    """The model, and clips in which a low tone is a little louder than a high one."""
    manifest = engine_of(shipped).manifest
    stages = [stage for stage in manifest.stages if stage.name != "decoder"]
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    spec = type(manifest)(**{**fields, "labels": ["low", "high"], "stages": stages})
    (tmp_path / "low").mkdir()
    times = np.arange(RATE) / RATE
    for index in range(4):
        wave = 0.4 * np.sin(2 * np.pi * 500 * times) + 0.3 * np.sin(2 * np.pi * (5000 + 300 * index) * times)
        soundfile.write(tmp_path / "low" / f"{index}.wav", wave, RATE)
    return TwoTones(spec), list_sounds(tmp_path, fewest_classes=1).clips


def planted(low: bool):
    """A mask over the half that carries the evidence, or over the other half."""

    def compute(model, heard, target, random):
        mask = np.zeros(heard.stft.shape[:2], np.float32)
        half = mask.shape[1] // 2
        mask[:, slice(0, half) if low else slice(half, None)] = 1.0
        return mask

    return Masker("truth" if low else "opposite", compute)


@pytest.mark.parametrize("domain", ["spectrogram", "audio"])
def test_a_planted_mask_comes_out_perfect_and_its_opposite_worst(tones, domain):
    model, clips = tones
    maskers = [planted(True), planted(False), *map(masker_of, ("energy", "band_occlusion", "ones"))]
    made = judge(model, clips, clean(clips), Plan(maskers, [domain], area=0.02))
    table = summary(made.records)
    p = made.records[0].p
    assert 0.6 < p < 0.95
    expected = {"average_increase": 100, "average_drop": 0, "faithfulness": p, "input_fidelity": 1}
    for key, value in expected.items():
        assert cell(table, key, "truth", domain).estimate == pytest.approx(value, abs=0.02)
    assert cell(table, "average_gain", "truth", domain).estimate > 99
    assert cell(table, "average_drop", "opposite", domain).estimate > 99
    assert cell(table, "input_fidelity", "opposite", domain).estimate == 0
    assert cell(table, "faithfulness", "opposite", domain).estimate < 0
    # Occlusion finds the band as well, and ones change nothing, to the last digit.
    assert cell(table, "input_fidelity", "band_occlusion", domain).estimate == 1
    for key in ("average_increase", "average_drop", "average_gain"):
        assert cell(table, key, "ones", domain).estimate == 0
    assert (made.clips, made.windows, made.right) == (4, 4, 4)
    assert made.silence[domain].score == pytest.approx(0.5)


def test_the_shipped_decoder_beats_every_baseline_clear_of_zero(judged):
    """On average drop and, of those that know nothing of the model, on everything."""
    table = differences(judged.records)
    for domain in ("spectrogram", "audio"):
        for name in ("random", "band_occlusion", "time_occlusion"):
            assert cell(table, "average_drop", name, domain).high < 0
            assert cell(table, "faithfulness", name, domain).low > 0
        assert cell(table, "average_increase", "random", domain).low > 0
        assert "AD" in cell(table, "ahead", "random", domain)
        assert cell(table, "behind", "random", domain) == "-"


def test_rankings_have_the_area_of_the_mask_clip_by_clip(judged):
    by_masker = {name: [r for r in judged.records if r.masker == name] for name in MASKERS}
    wanted = [record.values["area"] for record in by_masker["mask"]]
    for name in ("random", "energy", "band_occlusion", "time_occlusion"):
        assert [r.values["area"] for r in by_masker[name]] == pytest.approx(wanted, abs=1e-4)
    assert {r.values["area"] for r in by_masker["ones"]} == {1.0}


def test_the_figures_are_those_of_rescoring_by_the_explainer(shipped, clips, judged):
    """`explain(rescore=True)` hears the same kept spectrogram, and the same kept sound."""
    result = shipped.explain(str(clips[0].path), methods=["mask"], rescore=True)
    for domain in ("spectrogram", "audio"):
        record = next(r for r in judged.records if (r.masker, r.domain) == ("mask", domain))
        assert record.clip == clips[0].name
        assert record.target == result.target
        assert record.q == pytest.approx(result.rescored[domain]["mask_in"], abs=2e-4)
        assert record.p == pytest.approx(result.predictions[0][1], abs=2e-4)
        assert record.values["area"] == pytest.approx(result.mask.area, abs=1e-4)
    spectrogram = next(r for r in judged.records if (r.masker, r.domain) == ("mask", "spectrogram"))
    assert spectrogram.o == pytest.approx(result.rescored["spectrogram"]["mask_out"], abs=2e-4)


def test_deterministic_and_independent_of_neighbours(shipped, clips, judged):
    plan = Plan([masker_of("random"), masker_of("energy")], ["spectrogram"], seed=0)
    alone = judge(engine_of(shipped), clips[5:7][::-1], clean(clips), plan).records
    again = judge(engine_of(shipped), clips[5:7][::-1], clean(clips), plan).records
    assert [replace(r, milliseconds=0) for r in alone] == [replace(r, milliseconds=0) for r in again]
    for record in alone:
        same = next(
            r
            for r in judged.records
            if (r.clip, r.masker, r.domain) == (record.clip, record.masker, record.domain)
        )
        assert record.values == pytest.approx(same.values, abs=1e-5)
    other = judge(engine_of(shipped), clips[5:7][::-1], clean(clips), replace(plan, seed=1)).records
    assert [r.q for r in other if r.masker == "random"] != [r.q for r in alone if r.masker == "random"]


def test_curves_rise_with_the_area(shipped, clips):
    plan = Plan([masker_of("energy"), masker_of("ones")], ["spectrogram"], areas=(0.02, 0.3, 1.0))
    made = judge(engine_of(shipped), clips[::3], clean(clips), plan)
    points = curves(made.curve)
    assert {point.method for point in points} == {"energy"}
    assert [point.wanted_area for point in points] == [0.02, 0.3, 1.0]
    assert [point.area for point in points] == pytest.approx([0.02, 0.3, 1.0], abs=1e-4)
    drops = [point.average_drop.estimate for point in points]
    assert drops[0] > drops[1] > drops[2] == 0.0
    assert points[-1].input_fidelity.estimate == 1.0


def test_every_window_of_a_long_sound_is_judged_for_its_own_class(shipped, clips, tmp_path):
    pieces = [make_clip(label, 5, snr_db=20.0).waveform for label in ("kick", "bell")]
    (tmp_path / "kick").mkdir()
    soundfile.write(tmp_path / "kick" / "1-7-A.wav", np.concatenate([*pieces, pieces[0]]), RATE)
    long = list_sounds(tmp_path, fewest_classes=1).clips
    made = judge(engine_of(shipped), long, clean(long), Plan([masker_of("mask")], ["spectrogram"]))
    assert (made.clips, made.windows) == (1, 5)
    assert [record.window for record in made.records] == list(range(5))
    assert {"kick", "bell"} <= {record.target for record in made.records}
    # One recording: a mean, but nothing is known of its spread.
    assert np.isnan(cell(summary(made.records), "faithfulness", "mask").low)


def test_silence_is_asked_about(shipped, clips, judged):
    window = next(iter(engine_of(shipped).windows(open_sound(str(clips[0].path), None, RATE))))
    nothing = np.zeros((1, *window.stft.shape[:2]), np.float32)
    for domain in ("spectrogram", "audio"):
        first = int(rescore(engine_of(shipped), window, nothing, domain)[0].argmax())
        assert judged.silence[domain].label == shipped.labels[first]


def test_several_labels_are_judged_by_their_own_scores(shipped, clips):
    manifest = engine_of(shipped).manifest
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__}

    class SeveralLabels:
        """The shipped model, read as one whose labels do not exclude each other."""

        def __getattr__(self, name):
            return getattr(engine_of(shipped), name)

    several = SeveralLabels()
    several.manifest = type(manifest)(**{**fields, "task": "multi_label"})
    made = judge(several, clips[::4], clean(clips), Plan([masker_of("mask")], ["audio"]))
    assert all(0 <= record.q <= 1 for record in made.records)
    for record in made.records:
        if record.p >= 0.5:
            assert record.agrees == (record.q >= 0.5)
    with pytest.raises(MethodError, match="single label"):
        judge(several, clips, clean(clips), Plan([masker_of("mask")], ["audio"], reference=True))


def test_what_a_bundle_lacks_is_said_before_the_first_clip(tones):
    model, clips = tones
    for plan, says in (
        (Plan([masker_of("mask")], ["audio"]), "earmark train lmac"),
        (Plan([masker_of("energy")], ["audio"]), "--area"),
        (Plan([masker_of("ones"), masker_of("ones")], ["audio"]), "one name"),
    ):
        with pytest.raises(MethodError, match=says):
            judge(model, clips, clean(clips), plan)
    with pytest.raises(MethodError, match="there is no method"):
        masker_of("nonsense")


def test_a_model_with_features_of_its_own_is_judged_by_listening(tones):
    model, clips = tones
    fields = {name: getattr(model.manifest, name) for name in model.manifest.__struct_fields__}
    model.manifest = type(model.manifest)(**{**fields, "rescore": "waveform"})
    assert domains_of(model, "both") == ["audio"]
    with pytest.raises(MethodError, match="audio"):
        domains_of(model, "spectrogram")
    plan = Plan([masker_of("band_occlusion")], domains_of(model), area=0.02)
    assert {record.agrees for record in judge(model, clips, clean(clips), plan).records} == {True}


@pytest.mark.slow
def test_the_figures_of_the_shipped_bundle_are_those_of_its_training(shipped, tmp_path):
    """PyTorch judged the decoder on the held-out fold when the demo was made; the bundle keeps that."""
    demo = pytest.importorskip("earmark.export.demo")
    write_folder(tmp_path, demo.SEED, demo.CLIPS_PER_CLASS)
    held_out = [clip for clip in list_sounds(tmp_path).clips if clip.fold == demo.HELD_OUT_FOLD]
    found = engine_of(shipped).manifest.evaluation
    made = judge(engine_of(shipped), held_out, clean(held_out), Plan([masker_of("mask")], ["spectrogram"]))
    assert made.right / made.windows == pytest.approx(found["validation_accuracy"], abs=1e-6)
    table = summary(made.records)
    for key, tolerance in (
        ("average_increase", 1.3),
        ("average_drop", 0.02),
        ("faithfulness", 1e-3),
        ("input_fidelity", 1e-6),
        ("area", 1e-4),
    ):
        assert cell(table, key, "mask").estimate == pytest.approx(found[f"validation_{key}"], abs=tolerance)


@pytest.mark.parametrize("area", [0.0, 0.013, 0.5, 1.0])
def test_the_top_share_is_exact_and_draws_ties(area):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (37, 23)).astype(np.float32)
    mask = top_share(values, area, rng)
    assert mask.sum() == round(area * values.size)
    if 0 < mask.sum() < mask.size:
        assert values[mask == 1].min() >= values[mask == 0].max()
    flat = top_share(np.zeros((50, 50), np.float32), 0.2, rng)
    assert abs(flat[:25].mean() - flat[25:].mean()) < 0.1
