"""The runtime where it is easy to be wrong: levels, joins, locks over a fork, half-written files, specks."""

import io
import math
import zlib

import numpy as np
import pytest
import soundfile
from runtime_sounds import RATE, run_python, tone

import earmark
from earmark.runtime.audio.overlap import OverlapAdd
from earmark.runtime.methods.evidence import spans_of
from earmark.runtime.methods.mask.decoder import Decoded

# What goes in.


FORMATS = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "IMA_ADPCM"),
    ("FLAC", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "ULAW"),
    ("OGG", "VORBIS"),
    ("CAF", "PCM_16"),
]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_damaged_sound_is_heard_or_refused_in_one_line(explainer, capfd, kind, subtype):
    """Bytes changed or missing anywhere: a finite result or one AudioError, and nothing on stderr."""
    chance = np.random.default_rng(zlib.crc32(f"{kind} {subtype}".encode()))
    stored = io.BytesIO()
    soundfile.write(stored, tone(0.4, channels=2).T, RATE, format=kind, subtype=subtype)
    messages = []
    for _ in range(12):
        content = bytearray(stored.getvalue())
        for _ in range(8):
            # Half of them where the headers are.
            reach = 64 if chance.random() < 0.5 else len(content)
            content[chance.integers(reach)] ^= int(chance.integers(1, 256))
        if chance.random() < 0.5:
            del content[chance.integers(1, len(content)) :]
        try:
            mask = explainer.explain(io.BytesIO(bytes(content)), methods=["mask"]).mask
        except earmark.EarmarkError as error:
            messages.append(str(error))
        else:
            assert np.isfinite(mask.audio).all()
            assert np.isfinite(mask.residual).all()
    assert not any("\n" in message for message in messages)
    assert "Traceback" not in capfd.readouterr().err


# Against PyTorch.


@pytest.mark.parametrize("samples", [1600, 9999])
def test_scores_mask_kept_sound_and_rescoring_are_pytorchs(explainer, tiny_source, samples):
    import torch
    from torch_stft import TINY, torch_stft

    reference = tiny_source.reference
    wave = torch.from_numpy(tone(samples / RATE, seed=samples))[None]
    result = explainer.explain(wave[0].numpy(), RATE, rescore=True)
    with torch.no_grad():
        scores = reference.logits(wave).softmax(-1)[0]
        kept = reference.kept(wave)
        best = int(scores.argmax())
        inside = reference.logits(kept).softmax(-1)[0, best]
        outside = reference.logits(wave - kept).softmax(-1)[0, best]
        mask = reference.mask(wave)[0].numpy()
        # The paper's formula, with torch's own STFT and without earmark's gain.
        spectrum = torch_stft(wave, TINY)
        log_amplitude = torch.log1p(spectrum.abs())
        by_domain = [
            tiny_source.classifier(
                torch.view_as_real(torch.polar(torch.expm1(m * log_amplitude), spectrum.angle()))
            )
            for m in (torch.from_numpy(mask)[None], 1 - torch.from_numpy(mask)[None])
        ]
    assert result.target == result.predictions[0][0] == tiny_source.labels[best]
    assert dict(result.predictions)[result.target] == pytest.approx(float(scores[best]), abs=1e-5)
    np.testing.assert_allclose(result.mask.values, mask, atol=1e-5)
    np.testing.assert_allclose(result.mask.audio, kept[0].numpy(), atol=1e-5)
    assert result.rescored["audio"]["mask_in"] == pytest.approx(float(inside), abs=1e-4)
    assert result.rescored["audio"]["mask_out"] == pytest.approx(float(outside), abs=1e-4)
    for name, answers in zip(("mask_in", "mask_out"), by_domain, strict=True):
        expected = float(answers[0].softmax(-1)[0, best])
        assert result.rescored["spectrogram"][name] == pytest.approx(expected, abs=1e-4)


# Many, long, padded.


def test_wrong_options_of_many_raise_at_once(explainer):
    with pytest.raises(earmark.LabelError):
        explainer.explain_many([], target="nothing")
    with pytest.raises(earmark.MethodError):
        explainer.explain_many([], methods=["nothing"])
    with pytest.raises(TypeError, match="colour"):
        explainer.explain_many([], colour="red")
    with pytest.raises(TypeError, match="several"):
        explainer.explain_many("one.wav")


def test_long_sound_is_explained_for_what_the_whole_is(explainer):
    sound = tone(7.3)
    result = explainer.explain(sound, RATE)
    length, hop = RATE, RATE // 2
    assert len(result.windows) == 1 + math.ceil((len(sound) - length) / hop)
    starts = [*range(0, len(sound) - length, hop), len(sound) - length]
    assert len(starts) == len(result.windows)
    alone = [explainer.explain(sound[at : at + length], RATE, methods=[]) for at in starts]
    scores = [np.mean([dict(one.predictions)[label] for one in alone]) for label in explainer.labels]
    assert result.target == explainer.labels[int(np.argmax(scores))]
    assert [dict(result.predictions)[label] for label in explainer.labels] == pytest.approx(scores, abs=1e-5)
    np.testing.assert_allclose(result.logits, np.mean([one.logits for one in alone], axis=0), atol=1e-5)


@pytest.fixture
def constant_mask(monkeypatch):
    """Sets what the decoder answers in every cell of every window."""

    def put(value):
        monkeypatch.setattr(
            "earmark.runtime.methods.mask.explanation.decode",
            lambda context, window, target, **how: Decoded(np.full(window.stft.shape[:2], value, np.float32)),
        )

    return put


@pytest.mark.parametrize("samples", [16001, 16170, 16239, 16241, 24000, 31999, 40123])
def test_masks_of_windows_join_without_seam_or_gap(explainer, samples, constant_mask):
    """A constant mask joins to a constant one, and sound is cross-faded to the very sound."""
    constant_mask(0.25)
    mask = explainer.explain(tone(samples / RATE), RATE).mask
    assert len(mask.values) == 1 + samples // 160
    np.testing.assert_allclose(mask.values.astype(np.float32), 0.25, atol=1e-6)
    assert mask.area == pytest.approx(0.25)
    constant_mask(1.0)
    sound = tone(samples / RATE)
    np.testing.assert_allclose(explainer.explain(sound, RATE).mask.audio, sound, atol=1e-5)


def test_picture_and_spans_show_the_joined_mask(explainer, monkeypatch):
    """What a window says at its very ends counts as little there as in the mask itself."""

    def at_the_ends(context, window, target, **how):
        mask = np.zeros(window.stft.shape[:2], np.float32)
        mask[:2], mask[-2:] = 1.0, 1.0
        if window.offset == 0:
            mask[40:60] = 1.0
        return Decoded(mask)

    monkeypatch.setattr("earmark.runtime.methods.mask.explanation.decode", at_the_ends)
    sound = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)
    result = explainer.explain(sound, RATE)
    mask = result.mask
    assert len(result.windows) > 3
    np.testing.assert_allclose(mask.overview.mask, mask.values.astype(np.float32), atol=1e-3)
    inner = mask.values[4:-4].astype(np.float32).max(axis=1)
    assert inner[100:].max() < 0.2
    # Frames 40 to 60, 10 ms each, and the sound's own ends.
    ends = {(round(start, 1), round(end, 1)) for start, end in mask.spans}
    assert (0.4, 0.6) in ends
    assert all(end < 0.7 or start > 3.9 for start, end in mask.spans)


def test_hop_that_divides_no_window(variant):
    """A window that is no whole number of frames leaves no frame without a mask."""
    explainer = variant(window={"seconds": 16150 / RATE, "hop_seconds": 0.41})
    for samples in (16350, 16390, 30000, 16150 + 6080 + 40):
        result = explainer.explain(tone(samples / RATE), RATE)
        assert result.mask.values.shape == (1 + samples // 160, 257)
        assert (result.mask.values.max(axis=1) > 0).all() or result.warnings


def test_overlap_add_cross_fades():
    join = OverlapAdd((1,))
    parts = [
        join.add(0, np.zeros((1, 4), np.float32)),
        join.add(2, np.ones((1, 4), np.float32)),
        join.finish(),
    ]
    joined = np.concatenate(parts, axis=-1)[0]
    assert joined.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 1])


# The pipeline's own level.


@pytest.mark.parametrize("level", ["peak", "signed_peak"])
def test_kept_sound_comes_back_at_the_inputs_own_level(variant, level, tiny_source):
    import torch

    leveller = variant(level=level)
    quiet, loud = tone(0.8, peak=0.01), tone(0.8, peak=0.9)
    one, other = leveller.explain(quiet, RATE), leveller.explain(loud, RATE)
    assert dict(one.predictions)[one.target] == pytest.approx(dict(other.predictions)[one.target], abs=1e-3)
    # The reference hears the sound at the level that the recipe gives it.
    divisor = np.abs(quiet).max() if level == "peak" else quiet.max()
    with torch.no_grad():
        kept = tiny_source.reference.kept(torch.from_numpy(quiet / divisor)[None])[0].numpy() * divisor
    np.testing.assert_allclose(one.mask.audio, kept, atol=1e-6)
    np.testing.assert_allclose(one.mask.audio + one.mask.residual, quiet, atol=1e-7)
    stereo = leveller.explain(np.stack([quiet, quiet]), RATE)
    np.testing.assert_allclose(stereo.mask.audio[1], one.mask.audio, atol=1e-6)
    # Padded window, silence, a sound below zero, one whose signed peak is next to nothing.
    short = leveller.explain(quiet[:400], RATE)
    assert short.mask.audio.shape == (400,)
    below = -np.abs(tone(0.5)) - np.float32(0.01)
    spike = below.copy()
    spike[100] = 1e-30
    for sound in (np.zeros(8000, np.float32), below, spike, np.full(8000, 1e-42, np.float32)):
        result = leveller.explain(sound, RATE, rescore=True)
        assert np.isfinite(result.mask.audio).all()
        np.testing.assert_allclose(result.mask.audio + result.mask.residual, sound, atol=1e-6)
    quiet_then_loud = np.concatenate([0.01 * tone(2.0), tone(2.0)])
    result = leveller.explain(quiet_then_loud, RATE)
    assert np.abs(result.mask.audio[:16000]).max() <= 0.02
    np.testing.assert_allclose(result.mask.audio + result.mask.residual, quiet_then_loud, atol=1e-6)


# Errors and warnings.


def test_no_methods_are_predictions_alone(explainer):
    result = explainer.explain(tone(), RATE, methods=[])
    assert result.mask is result.prototypes is result.channels is result.rescored is None
    assert sum(score for _, score in result.predictions) == pytest.approx(1.0)
    assert set(result.timings) == {"read", "frontend", "classifier"}
    told = "nothing was rescored: that takes mask or components, of which none runs here"
    assert explainer.explain(tone(), RATE, methods=[], rescore=True).warnings == (told,)


def test_windows_that_say_something_else_have_an_empty_mask(explainer, monkeypatch):
    sound = np.concatenate([tone(3.0), np.zeros(3 * RATE, np.float32), 0.9 * np.ones(RATE, np.float32)])
    result = explainer.explain(sound, RATE)
    length, hop = RATE, RATE // 2
    starts = [*range(0, len(sound) - length, hop), len(sound) - length]
    tops = [explainer.explain(sound[at : at + length], RATE, methods=[]).target for at in starts]
    others = sum(top != result.target for top in tops)
    assert 0 < others < len(tops)
    assert any(warning.startswith(f"{others} of {len(tops)} windows") for warning in result.warnings)


def test_a_kept_sound_that_loses_its_label_is_called_unreliable(explainer, constant_mask):
    def top(sound):
        return explainer.explain(sound, RATE, methods=[]).target

    sounds = [tone(seed=1), np.sin(np.arange(RATE)).astype(np.float32), 0.9 * np.ones(RATE, np.float32)]
    sound = next(one for one in sounds if top(one) != top(np.zeros(RATE, np.float32)))
    constant_mask(0.0)
    result = explainer.explain(sound, RATE, rescore=True)
    assert [warning.split(":")[0] for warning in result.warnings] == ["unreliable", "unreliable"]
    constant_mask(1.0)
    assert explainer.explain(sound, RATE, rescore=True).warnings == ()


@pytest.mark.parametrize("threads", ["0", "-1", "two", "²", "99999999", "1.5"])
def test_junk_for_threads_is_named(tiny_bundle, monkeypatch, threads):
    monkeypatch.setenv("EARMARK_THREADS", threads)
    with pytest.raises(earmark.EarmarkError, match="EARMARK_THREADS"):
        earmark.load(tiny_bundle, "cpu").explain(tone(0.2), RATE)


def test_no_onnxruntime_names_the_extras(tiny_bundle):
    said = run_python(
        f"""
        import sys
        class Absent:
            def find_spec(self, name, *_):
                if name.partition(".")[0] == "onnxruntime":
                    raise ModuleNotFoundError(f"No module named {{name!r}}")
        sys.meta_path.insert(0, Absent())
        import numpy as np, earmark
        for device in ("auto", "cpu"):
            try:
                earmark.load({str(tiny_bundle)!r}, device).explain(np.ones(999, np.float32), 16000)
            except earmark.MissingDependencyError as error:
                print(error)
        """
    )
    assert said.count("earmark[cpu]") == said.count("earmark[gpu]") == len(said.splitlines()) == 2


# Where the evidence lies.


def spans(strength, frame_s=0.01):
    found = spans_of(np.asarray(strength, np.float32), frame_s, (len(strength) - 1) * frame_s)
    return [pytest.approx(span) for span in found]


def test_spans_close_gaps_and_leave_out_specks():
    strength = np.zeros(101)
    strength[10:20] = 1.0
    strength[23:30] = 0.8  # after 30 ms
    strength[50] = 0.9  # a single frame
    strength[100] = 0.9  # and at the end
    strength[70:73] = 0.6  # 30 ms
    strength[90] = 0.4  # weak
    assert spans(strength) == [(0.095, 0.295), (0.695, 0.725)]


def test_the_strongest_frame_is_always_named():
    strength = np.zeros(100)
    strength[40] = 1.0
    assert spans(strength) == [(0.395, 0.405)]
    assert spans(np.zeros(10)) == []
    assert spans(np.ones(101)) == [(0.0, 1.0)]
    coarse = np.zeros(10)
    coarse[[2, 7]] = 1.0
    assert spans(coarse, 0.1) == [(0.15, 0.25), (0.65, 0.75)]
