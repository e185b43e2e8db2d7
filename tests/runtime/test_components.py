"""Components through the API: relevance, names, and tracks that add up to the sound."""

import json
import shutil

import msgspec
import numpy as np
import pytest
import soundfile
from components_bundle import activate, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import engine_of
from earmark.runtime.methods.components.dictionary import ComponentDictionary
from earmark.runtime.methods.components.names import ComponentAcoustics, name_of
from earmark.runtime.methods.components.tracks import soft_mask

RATE = 16000


@pytest.fixture(scope="module")
def explainer(components_bundle):
    with earmark.load(components_bundle, device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def sound():
    return make_clip("snare", [9, 1], snr_db=15.0).waveform


@pytest.fixture(scope="module")
def result(explainer, sound):
    return explainer.explain(sound, RATE, methods=["components"])


def spectrum_of(sound):
    """X = log1p|STFT| [T, F] of the sound at peak 1, by SciPy."""
    from scipy.signal import get_window

    level = np.abs(sound).max()
    padded = np.pad(sound / level, 256)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::256]
    return np.fft.rfft(frames * get_window("hann", 512)), level


def test_relevance_and_selection_are_the_papers(result, learnt_components, sound):
    columns, theta = learnt_components
    spectrum, _ = spectrum_of(sound)
    pooled = activate(columns, np.log1p(np.abs(spectrum))).mean(axis=0)
    found = result.components
    says = theta[found.labels.index(found.label)] * pooled
    expected = says / np.abs(says).max()
    assert found.relevance == pytest.approx(expected, abs=2e-3)
    assert found.threshold == 0.2
    assert set(found.selected) == set(np.flatnonzero(found.relevance > 0.2).tolist())
    assert list(found.selected) == sorted(found.selected, key=lambda k: -found.relevance[k])
    assert 0 < len(found.selected) < len(found) == 16
    assert result.predictions[0][0] == "snare"


def test_what_is_kept_is_the_soft_mask_on_the_sounds_own_spectrum(result, learnt_components, sound):
    torch = pytest.importorskip("torch")
    columns, _ = learnt_components
    found = result.components
    spectrum, level = spectrum_of(sound)
    parts = [np.outer(found.activations[k], columns[:, k]) for k in range(16)]
    mask = sum(parts[k] for k in found.selected) / (sum(parts) + 1e-10)
    kept = torch.istft(
        torch.from_numpy((spectrum * mask * level).T.astype(np.complex64)),
        512,
        256,
        window=torch.hann_window(512),
        length=len(sound),
    ).numpy()
    assert found.audio == pytest.approx(kept, abs=2e-5)


@pytest.mark.parametrize("power", [1.0, 1.5, 3.0])
def test_a_masks_power_is_the_manifests_and_shares_add_up(explainer, result, learnt_components, power):
    columns, theta = learnt_components
    spec = engine_of(explainer).manifest.components
    # What is not in a manifest, as in those of before, is the paper's.
    assert spec.mask_power == 1.0
    spec = msgspec.structs.replace(spec, mask_power=power)
    dictionary = ComponentDictionary(columns, theta, RATE / 512, spec)
    active = np.asarray(result.components.activations, np.float32)
    parts = np.stack([np.outer(active[k], columns[:, k]).astype(np.float64) ** power for k in range(16)])
    wanted = parts[[2, 5]].sum(0) / (parts.sum(0) + 1e-10**power)
    chosen = soft_mask(dictionary, active, [2, 5])
    np.testing.assert_allclose(chosen, wanted, rtol=1e-3, atol=1e-5)
    rest = soft_mask(dictionary, active, [k for k in range(16) if k not in (2, 5)])
    whole = soft_mask(dictionary, active, range(16))
    np.testing.assert_allclose(chosen + rest, whole, atol=1e-5)
    # Spectra that occur twice, as evidence and as rest, share their part by the power of their activations.
    twice = ComponentDictionary(np.tile(columns, 2), np.tile(theta, 2), RATE / 512, spec)
    assert twice.spectra.shape[1] == dictionary.spectra.shape[1] == 16
    both = soft_mask(twice, np.concatenate([3.0 * active, active]), [2, 5])
    np.testing.assert_allclose(both, chosen * 3.0**power / (3.0**power + 1.0), rtol=1e-3, atol=1e-5)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.sampled_from([8000, 16000, 22050, 44100]),
    channels=st.integers(0, 3),
    seconds=st.floats(0.05, 5.5),
    seed=st.integers(0, 1000),
)
def test_tracks_and_remainder_add_up_to_the_input(explainer, rate, channels, seconds, seed):
    random = np.random.default_rng(seed)
    shape = (max(1, round(seconds * rate)),)
    wave = (0.3 * random.standard_normal((channels, *shape) if channels else shape)).astype(np.float32)
    found = explainer.explain(wave, rate, methods=["components"]).components
    tracks = [component.audio() for component in found]
    assert all(track.shape == wave.shape for track in tracks)
    assert np.abs(sum(tracks) + found.remainder() - wave).max() <= 1e-4
    assert np.abs(found.audio + found.residual - wave).max() <= 1e-6
    kept = sum((tracks[k] for k in found.selected), np.zeros_like(wave))
    assert np.abs(found.audio - kept).max() <= 1e-4


def test_any_label_is_explained_and_another_one_without_hearing_again(explainer, sound, result):
    for label in explainer.labels:
        asked = explainer.explain(sound, RATE, target=label, methods=["components"]).components
        same = result.components.of(label)
        assert asked.label == same.label == label
        assert np.array_equal(asked.relevance, same.relevance)
        assert asked.selected == same.selected
        assert np.array_equal(asked.audio, same.audio)
        total = sum(one.contribution for one in asked)
        assert total == pytest.approx(float(asked.contributions[asked.labels.index(label)].sum()), abs=1e-4)
    with pytest.raises(earmark.LabelError):
        result.components.of("trumpet")


def test_the_threshold_is_an_option_and_others_are_refused(explainer, sound, result):
    def explained(**options):
        return explainer.explain(sound, RATE, methods=["components"], options={"components": options})

    strict, lax = explained(threshold=0.9).components, explained(threshold=0).components
    assert set(strict.selected) <= set(result.components.selected) < set(lax.selected)
    assert set(strict.selected) == set(np.flatnonzero(result.components.relevance > 0.9).tolist())
    assert (np.asarray(lax.relevance)[list(lax.selected)] > 0).all()
    for wrong in (1.0, -0.1, "high", True, float("nan")):
        with pytest.raises(earmark.MethodError, match="threshold"):
            explained(threshold=wrong)
    with pytest.raises(earmark.MethodError, match="tau"):
        explained(tau=0.5)


@pytest.fixture
def mute(learnt_components, tmp_path):
    """A bundle in which every component speaks against the first label, and none for the second."""
    columns, theta = learnt_components
    theta = theta.copy()
    theta[0], theta[1] = -np.abs(theta[0]) - 1e-3, 0.0
    from earmark.runtime.explainer import SHIPPED

    return earmark.load(write(SHIPPED, tmp_path / "mute", columns, theta), device="cpu")


def test_nothing_selected_is_silence_and_said(mute, sound, tmp_path):
    for label in mute.labels[:2]:
        made = mute.explain(sound, RATE, target=label, methods=["components"], rescore=True)
        found = made.components
        assert found.selected == ()
        assert not found.audio.any()
        assert np.array_equal(found.residual, sound)
        assert any("silence" in warning for warning in made.warnings)
        assert {"spectrogram", "audio"} == set(found.rescored)
        score = dict(made.predictions)[label]
        assert found.rescored["audio"]["mask_out"] == pytest.approx(score, abs=1e-4)
        made.save(tmp_path / label)
        assert not soundfile.read(tmp_path / label / "components" / "kept.wav")[0].any()


def test_silence_has_no_relevant_component(explainer):
    made = explainer.explain(np.zeros(8000, np.float32), RATE, methods=["components"])
    assert not made.components.relevance.any()
    assert made.components.selected == ()
    assert made.components[0].name.endswith("silent here")
    assert np.isfinite(made.components.audio).all()
    json.dumps(made.to_dict(), allow_nan=False)


def test_rescoring_asks_the_classifier_about_what_is_kept_and_removed(explainer, sound):
    made = explainer.explain(sound, RATE, methods=["mask", "components"], rescore=True)
    found, label = made.components, explainer.labels.index(made.target)
    level = np.abs(sound).max()
    waves = np.stack([found.audio, found.residual]) / level
    expected = engine_of(explainer).logits_of(np.ascontiguousarray(waves, np.float32))
    scores = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    heard = found.rescored["audio"]
    assert (heard["mask_in"], heard["mask_out"]) == pytest.approx(tuple(scores[:, label]), abs=1e-4)
    # The mask's own scores stay the mask's.
    assert made.rescored["audio"] != heard


def test_long_sound_lies_in_files_and_says_what_it_said_in_memory(explainer, monkeypatch, tmp_path):
    pieces = [make_clip(label, [3, n], snr_db=15.0).waveform for n, label in enumerate(explainer.labels)]
    wave = np.concatenate(pieces)
    path = tmp_path / "long.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    options = {"methods": ["components"], "target": "kick", "rescore": True}
    short = explainer.explain(path, **options).components
    monkeypatch.setattr("earmark.runtime.audio.sound.MEMORY_VALUES", 1000)
    made = explainer.explain(path, **options)
    long = made.components
    assert len(made.windows) > 10
    assert isinstance(long.audio.base, np.memmap) or isinstance(long.audio, np.memmap)
    assert np.array_equal(long.relevance, short.relevance)
    assert np.array_equal(long.audio, short.audio)
    assert long.rescored == short.rescored
    assert long.activations.shape == (16, 1 + len(wave) // 256)
    tracks = sum(component.audio() for component in long)
    assert np.abs(tracks + long.remainder() - wave).max() <= 1e-4


def test_a_component_knows_what_and_when(explainer):
    wave = np.zeros(2 * RATE, np.float32)
    burst = make_clip("snare", [2, 7], snr_db=40.0).event[:4000]
    wave[RATE : RATE + len(burst)] = np.random.default_rng(0).standard_normal(len(burst)) * 0.3
    found = explainer.explain(wave, RATE, methods=["components"]).components
    strongest = found[int(found.activations.max(axis=1).argmax())]
    assert strongest.spans
    assert all(0.9 <= start < end <= 1.4 for start, end in strongest.spans)
    said = strongest.to_dict()
    assert said["peak_hz"] > 0
    assert said["clip"]["name"].endswith(".flac")
    assert said["label"] in explainer.labels
    assert strongest.name in {one.name for one in found}


@pytest.mark.parametrize(
    ("peak", "width", "spans", "name"),
    [
        (1200, 100, [(0.8, 1.4)], "narrow tone at 1.2 kHz, 0.8-1.4 s"),
        (120, 60, [(0.0, 2.0)], "rumble around 120 Hz, throughout"),
        (2000, 1500, [(0.1, 0.6), (1.0, 1.5)], "band around 2.0 kHz, 0.1-0.6 s and 1.0-1.5 s"),
        (3000, 4000, [(0.30, 0.35)], "click around 3.0 kHz, 0.30-0.35 s"),
        (500, 4000, [(0.1, 0.3), (0.5, 0.6), (0.9, 1.0)], "noise bursts around 500 Hz, 3 times in 0.1-1.0 s"),
        (999, 50, [], "narrow tone at 999 Hz, silent here"),
    ],
)
def test_names_say_kind_pitch_and_time(peak, width, spans, name):
    assert name_of(ComponentAcoustics(peak, width, spans=spans), 2.0) == name


def test_saved_tracks_are_what_is_kept_and_the_picture_is_one(result, sound, tmp_path):
    from PIL import Image

    result.save(tmp_path / "out")
    found = result.components
    folder = tmp_path / "out" / "components"
    kept, removed = (soundfile.read(folder / f"{name}.wav")[0] for name in ("kept", "removed"))
    tracks = [soundfile.read(folder / f"component_{index}.wav")[0] for index in found.selected]
    assert len(list(folder.iterdir())) == 2 + len(tracks)
    assert np.abs(kept + removed - sound).max() <= 1e-6
    assert np.abs(sum(tracks) - kept).max() <= 1e-4
    with Image.open(tmp_path / "out" / "components.png") as picture:
        assert picture.width == 1000
        assert picture.height > 420
        assert len(picture.getcolors(1 << 20)) > 100
    document = json.loads((tmp_path / "out" / "result.json").read_text())["components"]
    assert [one["index"] for one in document["selected"]] == list(found.selected)
    assert len(document["relevance"]) == document["count"] == 16
    shutil.rmtree(tmp_path / "out")


def test_the_interpreters_own_answer_is_told_where_it_differs(mute, sound):
    made = mute.explain(sound, RATE, methods=["components"])
    first = next(iter(made.components.interpreted))
    assert sum(made.components.interpreted.values()) == pytest.approx(1.0, abs=1e-5)
    told = any("own answer" in warning for warning in made.warnings)
    assert told == (first != made.predictions[0][0])
