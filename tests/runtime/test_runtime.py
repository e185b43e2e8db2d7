"""The runtime at its borders: what goes into `explain`, what comes out."""

import io
import json

import numpy as np
import pytest
import soundfile
from refusals import refuses
from runtime_sounds import RATE, noise

import earmark

# What comes out


def test_a_result_says_everything(explainer):
    result = explainer.explain(noise(), RATE, methods=["mask"], seed=7)
    assert [label for label, _ in result.predictions] != []
    scores = [score for _, score in result.predictions]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1.0, abs=1e-5)
    assert result.target == result.predictions[0][0]
    assert result.seed == 7
    assert result.device == "cpu"
    assert {"read", "frontend", "classifier", "decoder"} <= set(result.timings)
    assert all(taken >= 0 for taken in result.timings.values())
    mask = result.mask
    assert mask.values.shape == (1 + 12800 // 160, 257)
    assert mask.values.min() >= 0.0
    assert mask.values.max() <= 1.0
    assert mask.area == pytest.approx(float(mask.values.mean()), abs=1e-4)


def test_the_same_sound_gets_the_same_answer(explainer, tiny_bundle):
    first = explainer.explain(noise(), RATE, methods=["mask"])
    second = earmark.load(tiny_bundle, "cpu").explain(noise(), RATE, methods=["mask"])
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.mask.audio, second.mask.audio)


def test_results_do_not_change(explainer):
    result = explainer.explain(noise(), RATE, methods=["mask"])
    with pytest.raises(AttributeError):
        result.target = "other"
    with pytest.raises(AttributeError):
        result.mask.area = 1.0


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_kept_and_removed_are_the_input(explainer, rate, channels):
    wave = noise(0.4, rate, channels)
    result = explainer.explain(wave, rate, methods=["mask"])
    mask = result.mask
    assert mask.audio.shape == mask.residual.shape == wave.shape
    assert (result.sample_rate, result.channel_count) == (rate, channels)
    np.testing.assert_allclose(mask.audio + mask.residual, wave, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 159, 160, 161, 799, 1600, 15999, 16000, 16001, 16160, 40001])
def test_any_length(explainer, samples):
    wave = noise()[:1].repeat(samples) if samples < 3 else noise(samples / RATE + 0.01)[:samples]
    result = explainer.explain(wave, RATE, methods=["mask"], rescore=True)
    assert result.mask.audio.shape == (samples,)
    assert result.mask.values.shape == (1 + samples // 160, 257)
    assert np.isfinite(result.mask.audio).all()
    assert np.isfinite(result.logits).all()
    json.dumps(result.to_dict(), allow_nan=False)


def test_one_channel_as_an_axis_and_without(explainer):
    flat = explainer.explain(noise(), RATE, methods=["mask"])
    axis = explainer.explain(noise()[None], RATE, methods=["mask"])
    np.testing.assert_array_equal(flat.mask.audio, axis.mask.audio[0])


def test_channels_get_the_gain_of_their_mix(explainer):
    """L-MAC masks the mix: two equal channels are kept as one, and a silent one stays silent."""
    wave = noise()
    alone = explainer.explain(wave, RATE, methods=["mask"])
    twins = explainer.explain(np.stack([wave, wave]), RATE, methods=["mask"])
    np.testing.assert_allclose(twins.mask.audio[0], alone.mask.audio, atol=1e-5)
    np.testing.assert_allclose(twins.mask.audio[1], alone.mask.audio, atol=1e-5)
    half = explainer.explain(np.stack([2 * wave, 0 * wave]), RATE, methods=["mask"])
    np.testing.assert_array_equal(half.mask.audio[1], 0.0)
    np.testing.assert_allclose(half.mask.audio[0], 2 * alone.mask.audio, atol=1e-5)


def test_channels_that_cancel_are_no_catastrophe(explainer):
    wave = noise()
    result = explainer.explain(np.stack([wave, -wave]), RATE, methods=["mask"])
    assert np.isfinite(result.mask.audio).all()
    assert np.abs(result.mask.audio).max() <= np.abs(wave).max() * 1.5


def test_rescoring_names_both_domains(explainer):
    result = explainer.explain(noise(), RATE, methods=["mask"], rescore=True)
    assert set(result.rescored) == {"spectrogram", "audio"}
    for scores in result.rescored.values():
        assert 0.0 <= scores["mask_in"] <= 1.0
        assert 0.0 <= scores["mask_out"] <= 1.0
        lost = scores["mask_in_label"] != result.target
        assert lost == any(
            "unreliable" in warning and scores["mask_in_label"] in warning for warning in result.warnings
        )
    assert explainer.explain(noise(), RATE, methods=["mask"]).rescored is None


@pytest.mark.parametrize(
    ("inside", "outside", "labels", "task", "said"),
    [
        (0.95, 0.95, ("dog", "dog"), "single_label", "95.0% of 'dog', what is left without it 95.0%"),
        (0.95, 0.95, ("dog", "dog"), "multi_label", "95.0% of 'dog', what is left without it 95.0%"),
        (0.95, 0.80, ("dog", "dog"), "single_label", None),
        (0.95, 0.02, ("dog", "cat"), "single_label", None),
        (0.20, 0.30, ("cat", "dog"), "single_label", "is classified as 'cat', not 'dog'"),
        (0.20, 0.10, ("dog", "dog"), "multi_label", "20.0% of 'dog' left"),
    ],
)
def test_rescoring_that_contradicts_a_mask_is_said(inside, outside, labels, task, said):
    from earmark.runtime.methods.rescoring import contradiction

    scores = dict(
        zip(
            ("mask_in", "mask_out", "mask_in_label", "mask_out_label"),
            (inside, outside, *labels),
            strict=True,
        )
    )
    line = contradiction(scores, "dog", task, "kept audio")
    assert line is None if said is None else line.startswith("unreliable: the kept audio") and said in line


# What goes in


def test_every_way_to_give_a_sound(explainer, tmp_path):
    wave = noise()
    path = tmp_path / "clip.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    expected = explainer.explain(wave, RATE, methods=[]).logits
    with path.open("rb") as file:
        for sound in (path, str(path), file, io.BytesIO(path.read_bytes()), (wave, RATE)):
            result = explainer.explain(sound, methods=[])
            np.testing.assert_allclose(result.logits, expected, atol=1e-6)


def test_the_window_hears_its_own_rate(explainer):
    """A tone of one frequency is the same sound at every rate."""
    answers = []
    for rate in (16000, 44100, 48000):
        time = np.arange(rate) / rate
        tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32) * np.hanning(rate).astype(np.float32)
        answers.append(explainer.explain(tone, rate, methods=[]).logits)
    np.testing.assert_allclose(answers[1], answers[0], atol=0.02)
    np.testing.assert_allclose(answers[2], answers[0], atol=0.02)


def test_unknown_words(explainer):
    refuses(earmark.LabelError, "whistle", explainer.explain, noise(), RATE, target="wistle")
    refuses(earmark.MethodError, "mask", explainer.explain, noise(), RATE, methods=["msk"])
    refuses(earmark.MethodError, "index", explainer.explain, noise(), RATE, methods=["prototypes"])


def test_a_target_that_was_not_predicted(explainer):
    predicted = explainer.explain(noise(), RATE, methods=[]).target
    other = next(label for label in explainer.labels if label != predicted)
    with pytest.raises(earmark.TargetError) as caught:
        explainer.explain(noise(), RATE, target=other, methods=["mask"])
    assert predicted in str(caught.value)
    assert other in str(caught.value)
    assert explainer.explain(noise(), RATE, target=predicted, methods=["mask"]).target == predicted
    assert explainer.explain(noise(), RATE, target=other, methods=[]).target == other


def test_silence_works_and_is_named(explainer):
    result = explainer.explain(np.zeros(RATE, np.float32), RATE, methods=["mask"], rescore=True)
    assert any("silent" in warning for warning in result.warnings)
    np.testing.assert_array_equal(result.mask.audio, 0.0)
    json.dumps(result.to_dict(), allow_nan=False)


def test_integers_without_a_full_scale(explainer):
    refuses(earmark.AudioError, "int64", explainer.explain, np.arange(-500, 500), RATE)


def test_absurd_levels_are_one_clear_error(explainer):
    with pytest.raises(earmark.EarmarkError):
        explainer.explain(noise() * np.float32(1e35), RATE, methods=["mask"])


def test_a_bundle_without_decoder_says_so(without_decoder):
    plain = earmark.load(without_decoder, "cpu")
    assert plain.explain(noise(), RATE).mask is None
    refuses(earmark.MethodError, "decoder", plain.explain, noise(), RATE, methods=["mask"])


# Many sounds


def test_many_sounds_are_the_same_as_one_by_one(explainer, tmp_path):
    sounds = [(noise(0.5 + 0.5 * (index % 3), seed=index), RATE) for index in range(7)]
    together = list(explainer.explain_many(sounds, batch_size=3, methods=["mask"]))
    for sound, result in zip(sounds, together, strict=True):
        alone = explainer.explain(sound, methods=["mask"])
        np.testing.assert_allclose(result.logits, alone.logits, atol=1e-5)
        np.testing.assert_allclose(result.mask.audio, alone.mask.audio, atol=1e-5)


def test_many_is_lazy(explainer):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield noise(0.2), RATE

    many = explainer.explain_many(endless(), batch_size=2, methods=[])
    next(many)
    assert len(taken) <= 2


# Long sound


def test_a_repeated_sound_is_explained_alike_in_every_window(explainer):
    """Windows that hear the same keep the same, away from the borders."""
    beat = noise(0.5, seed=4)
    result = explainer.explain(np.tile(beat, 8), RATE, methods=["mask"])
    assert not any("windows" in warning for warning in result.warnings)
    kept = result.mask.audio.reshape(8, -1)
    np.testing.assert_allclose(kept[3], kept[4], atol=5e-3)


def test_the_target_is_chosen_over_the_whole(explainer):
    """Windows in which another class is heard keep nothing, and are counted."""
    labels = {}
    for seed in range(60):
        wave = noise(1.0, seed=seed, level=10.0 ** (-3 + 4 * (seed % 10) / 10))
        labels.setdefault(explainer.explain(wave, RATE, methods=[]).target, wave)
    if len(labels) < 2:
        time = np.arange(RATE) / RATE
        for hertz in (50, 200, 1000, 3000, 7000):
            wave = (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
            labels.setdefault(explainer.explain(wave, RATE, methods=[]).target, wave)
    assert len(labels) >= 2, "the tiny model hears one class in everything"
    ((first, second),) = [list(labels.values())[:2]]
    wave = np.concatenate([first] * 4 + [second] * 2)
    result = explainer.explain(wave, RATE, methods=["mask"])
    assert any("windows" in warning for warning in result.warnings)
    assert np.abs(result.mask.audio).max() > 0
