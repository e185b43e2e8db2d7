"""The runtime at its borders: what goes into `explain`, what comes out, and where it runs."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import soundfile

import earmark
from earmark.runtime.explainer import Failure

RATE = 16000


def noise(seconds=0.8, rate=RATE, channels=None, seed=0, level=0.1):
    shape = int(seconds * rate) if channels is None else (channels, int(seconds * rate))
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.fixture(scope="module")
def explainer(tiny_bundle):
    return earmark.load(tiny_bundle, device="cpu")


def run_python(code, *arguments, env=None, timeout=240):
    """A fresh interpreter; returns its stdout."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        cwd="/",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


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


def test_logits_and_mask_are_those_of_the_source(explainer, tiny_source):
    """Against the PyTorch source, not against the graphs."""
    import torch

    wave = noise(seed=3)
    result = explainer.explain(wave, RATE, methods=["mask"])
    with torch.no_grad():
        sound = torch.from_numpy(wave)[None]
        logits, mask, kept = (
            getattr(tiny_source.reference, name)(sound)[0].numpy() for name in ("logits", "mask", "kept")
        )
    np.testing.assert_allclose(result.logits, logits, atol=1e-4)
    np.testing.assert_allclose(result.mask.values, mask, atol=1e-4)
    np.testing.assert_allclose(result.mask.audio, kept, atol=1e-4)


def test_to_dict_is_json_without_nan(explainer):
    result = explainer.explain(noise(), RATE, methods=["mask"], rescore=True)
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert set(json.loads(text)) == set(explainer.explain(noise(seed=1), RATE, methods=[]).to_dict())


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


def test_rescoring_is_the_classifier_on_the_masked_sound(explainer, tiny_source):
    """Against the formula in PyTorch: mask-in is expm1(M log1p(A)) with the input's phase."""
    import torch

    wave = noise(seed=5)
    result = explainer.explain(wave, RATE, methods=["mask"], rescore=True)
    with torch.no_grad():
        mask = torch.from_numpy(np.array(result.mask.values))[None]
        stft = tiny_source.frontend(torch.from_numpy(wave)[None])
        amplitude = stft.square().sum(-1).sqrt()
        for name, part in (("mask_in", mask), ("mask_out", 1 - mask)):
            kept = torch.expm1(part * torch.log1p(amplitude)) / amplitude
            logits = tiny_source.classifier(stft * kept[..., None])[0]
            score = logits.softmax(-1)[0, explainer.labels.index(result.target)]
            assert result.rescored["spectrogram"][name] == pytest.approx(float(score), abs=1e-4)
        audio = tiny_source.classifier(tiny_source.frontend(torch.from_numpy(result.mask.audio)[None]))[0]
    score = float(audio.softmax(-1)[0, explainer.labels.index(result.target)])
    assert result.rescored["audio"]["mask_in"] == pytest.approx(score, abs=1e-4)


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
    with pytest.raises(earmark.LabelError, match="whistle"):
        explainer.explain(noise(), RATE, target="wistle")
    with pytest.raises(earmark.MethodError, match="mask"):
        explainer.explain(noise(), RATE, methods=["msk"])
    with pytest.raises(earmark.MethodError, match="index"):
        explainer.explain(noise(), RATE, methods=["prototypes"])


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


def test_sound_that_is_not_finite_says_where(explainer):
    wave = noise()
    wave[4000] = np.nan
    with pytest.raises(earmark.AudioError, match=r"0\.250"):
        explainer.explain(wave, RATE)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 6.0])
def test_a_broken_flac_is_heard_up_to_the_break(explainer, tmp_path, seconds):
    wave = noise(seconds)
    soundfile.write(tmp_path / "whole.flac", wave, RATE)
    content = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) * 7 // 10])
    result = explainer.explain(tmp_path / "cut.flac", methods=["mask"])
    assert 0.2 * seconds < result.duration_s < 0.8 * seconds
    assert any("cut off" in warning for warning in result.warnings)
    held = len(result.mask.audio[0])
    np.testing.assert_allclose((result.mask.audio + result.mask.residual)[0], wave[:held], atol=5e-5)


def test_integers_without_a_full_scale(explainer):
    with pytest.raises(earmark.AudioError, match="int64"):
        explainer.explain(np.arange(-500, 500), RATE)


def test_absurd_levels_are_one_clear_error(explainer):
    with pytest.raises(earmark.EarmarkError):
        explainer.explain(noise() * np.float32(1e35), RATE, methods=["mask"])


def test_a_bundle_without_decoder_says_so(tmp_path):
    pytest.importorskip("torch")
    from earmark.export.bundle_writer import write_bundle
    from earmark.export.sources.factory import from_adapter

    from .conftest import tiny_adapter

    write_bundle(from_adapter(tiny_adapter(decoder=False)), tmp_path / "plain")
    plain = earmark.load(tmp_path / "plain", "cpu")
    assert plain.explain(noise(), RATE).mask is None
    with pytest.raises(earmark.MethodError, match="decoder"):
        plain.explain(noise(), RATE, methods=["mask"])


# Many sounds


def test_many_sounds_are_the_same_as_one_by_one(explainer, tmp_path):
    sounds = [(noise(0.5 + 0.5 * (index % 3), seed=index), RATE) for index in range(7)]
    together = list(explainer.explain_many(sounds, batch_size=3, methods=["mask"]))
    for sound, result in zip(sounds, together, strict=True):
        alone = explainer.explain(sound, methods=["mask"])
        np.testing.assert_allclose(result.logits, alone.logits, atol=1e-5)
        np.testing.assert_allclose(result.mask.audio, alone.mask.audio, atol=1e-5)


def test_one_bad_sound_among_many(explainer, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    good = (noise(), RATE)
    loud = (noise() * np.float32(1e35), RATE)
    found = list(explainer.explain_many([good, text, "missing.wav", loud, good], methods=["mask"]))
    assert [isinstance(one, Failure) for one in found] == [False, True, True, True, False]
    assert found[1].input == str(text)
    assert isinstance(found[1].error, earmark.AudioError)


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


def test_windows_are_joined(explainer):
    wave = noise(3.3)
    result = explainer.explain(wave, RATE, methods=["mask"], rescore=True)
    assert result.windows > 1
    assert result.mask.audio.shape == wave.shape
    np.testing.assert_allclose(result.mask.audio + result.mask.residual, wave, atol=1e-6)
    assert result.mask.values.shape[0] == 1 + len(wave) // 160


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


MEMORY = """
    import resource, sys
    import numpy as np, earmark
    explainer = earmark.load(sys.argv[1], "cpu")
    result = explainer.explain(sys.argv[2], methods=["mask"])
    total = 0.0
    for start in range(0, result.mask.audio.shape[-1], 1 << 20):
        total += float(np.abs(result.mask.audio[..., start : start + (1 << 20)]).sum())
    assert total > 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_sound(tiny_bundle, tmp_path):
    peaks = {}
    for minutes in (1, 10):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as file:
            for second in range(60 * minutes):
                file.write(noise(1.0, seed=second))
        peaks[minutes] = int(run_python(MEMORY, tiny_bundle, path, timeout=280))
    assert peaks[10] < 1.5 * peaks[1], peaks


# Where it runs


def test_devices(tiny_bundle):
    assert earmark.load(tiny_bundle, "auto").explain(noise(), RATE, methods=[]).device
    with pytest.raises(earmark.DeviceError, match="warp"):
        earmark.load(tiny_bundle, "warp")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        for device in ("cuda", "cuda:1", "tensorrt"):
            with pytest.raises(earmark.DeviceError, match=device):
                earmark.load(tiny_bundle, device).explain(noise(), RATE, methods=[])


def test_a_device_that_does_not_become_active_is_an_error(tiny_bundle, monkeypatch):
    """onnxruntime falls back to the CPU by itself: that must not pass for the device asked for."""
    import onnxruntime

    real = onnxruntime.get_available_providers()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *real])
    if "CUDAExecutionProvider" in real:
        pytest.skip("this onnxruntime has CUDA")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(earmark.DeviceError, match="cuda"),
    ):
        earmark.load(tiny_bundle, "cuda").explain(noise(), RATE, methods=[])
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        result = earmark.load(tiny_bundle, "auto").explain(noise(), RATE, methods=[])
    assert result.device == "cpu"
    assert any("CPU" in warning for warning in result.warnings)


def test_threads_by_the_environment(monkeypatch):
    from earmark.runtime.session import thread_count

    monkeypatch.setenv("EARMARK_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.setenv("EARMARK_THREADS", "many")
    with pytest.raises(earmark.EarmarkError, match="EARMARK_THREADS"):
        thread_count()
    monkeypatch.delenv("EARMARK_THREADS")
    assert 1 <= thread_count() <= (os.cpu_count() or 1)


def test_without_onnxruntime_the_extra_is_named(tiny_bundle):
    out = run_python(
        """
        import sys
        sys.modules["onnxruntime"] = None
        import numpy as np, earmark
        try:
            earmark.load(sys.argv[1]).explain(np.zeros(8000, np.float32), 16000)
        except earmark.MissingDependencyError as error:
            print(error)
        """,
        tiny_bundle,
    )
    assert 'pip install "earmark[cpu]"' in out


def test_explaining_imports_nothing_of_export(tiny_bundle):
    out = run_python(
        """
        import sys
        import numpy as np, earmark
        earmark.load(sys.argv[1]).explain(np.ones(8000, np.float32), 22050, rescore=True).to_dict()
        heavy = ("torch", "matplotlib", "sklearn", "onnxscript", "earmark.export")
        print([name for name in heavy if name in sys.modules])
        """,
        tiny_bundle,
    )
    assert out.strip() == "[]"


# Processes and threads


def test_pickled_explainers_explain(explainer):
    copy = pickle.loads(pickle.dumps(explainer))
    np.testing.assert_array_equal(
        copy.explain(noise(), RATE, methods=[]).logits, explainer.explain(noise(), RATE, methods=[]).logits
    )


def test_results_travel(explainer, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, noise(), RATE)
    for sound in (path, io.BytesIO(path.read_bytes()), (noise(), RATE)):
        result = explainer.explain(sound, methods=["mask"])
        copy = pickle.loads(pickle.dumps(result))
        np.testing.assert_array_equal(copy.mask.audio, result.mask.audio)
        np.testing.assert_array_equal(copy.mask.residual, result.mask.residual)
        assert copy.to_dict() == result.to_dict()


def _in_child(explainer, wave, queue):
    queue.put(explainer.explain(wave, RATE, methods=["mask"]).logits)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_does_not_hang(explainer):
    expected = explainer.explain(noise(), RATE, methods=["mask"]).logits
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(explainer, noise(), queue))
    child.start()
    np.testing.assert_allclose(queue.get(timeout=60), expected, atol=1e-6)
    child.join(30)
    assert child.exitcode == 0


def test_threads_share_an_explainer(tiny_bundle):
    explainer = earmark.load(tiny_bundle, "cpu")
    waves = [noise(0.3 + 0.1 * index, seed=index) for index in range(6)]
    found = {}

    def work(index):
        found[index] = explainer.explain(waves[index], RATE, methods=["mask"]).mask.audio

    workers = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    for index, wave in enumerate(waves):
        alone = explainer.explain(wave, RATE, methods=["mask"]).mask.audio
        np.testing.assert_allclose(found[index], alone, atol=1e-6)


def test_closed_explainers_start_again(tiny_bundle):
    with earmark.load(tiny_bundle, "cpu") as explainer:
        explainer.warm_up()
    assert explainer.explain(noise(), RATE, methods=["mask"]).mask is not None


# Files


def test_save_writes_what_it_says(explainer, tmp_path):
    wave = noise(1.3, 22050, 2)
    result = explainer.explain(wave, 22050, methods=["mask"], rescore=True)
    result.save(tmp_path / "out" / "deep")
    folder = tmp_path / "out" / "deep"
    assert {path.name for path in folder.iterdir()} == {"mask.png", "kept.wav", "removed.wav", "result.json"}
    kept, rate = soundfile.read(folder / "kept.wav", dtype="float32")
    removed, _ = soundfile.read(folder / "removed.wav", dtype="float32")
    assert rate == 22050
    np.testing.assert_allclose((kept + removed).T, wave, atol=1e-6)
    assert json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(result.to_dict()))
    from PIL import Image

    with Image.open(folder / "mask.png") as picture:
        assert picture.width >= 600


def test_save_without_a_mask(explainer, tmp_path):
    explainer.explain(noise(), RATE, methods=[]).save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json"}


def test_save_where_a_file_is_in_the_way(explainer, tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(earmark.EarmarkError, match="out"):
        explainer.explain(noise(), RATE, methods=[]).save(tmp_path / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on file sizes")
def test_a_full_disk_leaves_nothing_half_written(tiny_bundle, tmp_path):
    """A limit on file sizes stands for the full disk: writing fails in the middle of kept.wav."""
    out = run_python(
        """
        import resource, signal, sys
        import numpy as np, earmark
        from pathlib import Path
        explainer = earmark.load(sys.argv[1], "cpu")
        wave = np.random.default_rng(0).standard_normal(480000).astype("f4") / 9
        result = explainer.explain(wave, 16000, methods=["mask"])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        try:
            result.save(sys.argv[2])
        except earmark.EarmarkError as error:
            print("clear:", error)
        print(sorted(path.name for path in Path(sys.argv[2]).iterdir()))
        """,
        tiny_bundle,
        tmp_path / "out",
    )
    assert "clear:" in out
    assert "kept.wav" not in out
    assert ".kept" not in out
    assert "result.json" not in out
