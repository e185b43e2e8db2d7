"""On the CPU the listenable STFT is an FFT where the front end's graph gives just that; late runs end."""

import gc
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import strange_bundle
from onnx import helper, numpy_helper
from runtime_sounds import RATE, noise, tone
from strange_bundle import edit_graph

import earmark
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.session import Sessions
from earmark.runtime.inference.watchdog import Watchdog
from earmark.runtime.inference.window import Clock

bundle, cache = strange_bundle.bundle, strange_bundle.cache
BOUND = ["AzureExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def stages(monkeypatch):
    """The names of the stages whose graphs run."""
    keep, names = Sessions.keep, []

    def noted(self, stage, *rest):
        names.append(stage)
        return keep(self, stage, *rest)

    monkeypatch.setattr(Sessions, "keep", noted)
    return names


def classified(engine, waves):
    """The windows of waveforms [B, N], as they are."""
    return list(engine.pipeline.classified([(0, wave[None]) for wave in waves], Clock(), 1.0))


@pytest.mark.parametrize("seconds", [2.0, 2.0417, 5.3])
def test_the_fft_gives_what_the_graph_gives(tiny_bundle, seconds):
    for bundle in (tiny_bundle, None):
        engine = engine_of(earmark.load(bundle, "cpu"))
        waves = np.random.default_rng(0).uniform(-1, 1, (2, int(seconds * RATE))).astype(np.float32)
        graph = engine.sessions.run("frontend", {"waveform": waves})["stft"]
        fft = np.stack([window.stft for window in classified(engine, waves)])
        assert fft.shape == graph.shape
        assert np.abs(fft - graph).max() <= 1e-6 * engine.manifest.analysis.window_length


def test_the_graph_runs_where_it_is_not_alone_on_the_cpu(tiny_bundle, stages):
    wave = noise(1.0)
    fft = earmark.load(tiny_bundle, "cpu").explain(wave, RATE, methods=[])
    again = earmark.load(tiny_bundle, "cpu").explain(wave, RATE, methods=[])
    assert stages.count("classifier") == 2
    stages.clear()
    graph = earmark.load(tiny_bundle, providers=BOUND).explain(wave, RATE, methods=[])
    assert stages == ["frontend", "classifier"]
    np.testing.assert_array_equal(fft.logits, again.logits)
    np.testing.assert_allclose(fft.logits, graph.logits, atol=1e-6)


@pytest.mark.parametrize("factor", [1.001, 0.0])
def test_another_front_end_stays_what_it_is(bundle, stages, factor):
    def louder(model):
        last = next(node for node in model.graph.node if "stft" in node.output)
        last.output[list(last.output).index("stft")] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
        model.graph.node.append(helper.make_node("Mul", ["before", "factor"], ["stft"]))

    edit_graph(bundle, "frontend.onnx", louder)
    engine = engine_of(earmark.load(bundle, "cpu"))
    wave = noise(2.0)[None]
    stages.clear()
    (window,) = classified(engine, wave)
    assert stages == ["frontend", "frontend", "classifier"]
    expected = engine.sessions.run("frontend", {"waveform": wave})["stft"]
    np.testing.assert_array_equal(window.stft, expected[0])


def test_one_thread_watches_over_all_runs():
    watchdog, before = Watchdog(), threading.active_count()
    runs = [SimpleNamespace(terminate=False) for _ in range(20)]
    for run in runs:
        with watchdog.limiting(run, 60.0):
            pass
    assert threading.active_count() == before + 1
    late, early = SimpleNamespace(terminate=False), SimpleNamespace(terminate=False)
    with watchdog.limiting(early, 60.0), watchdog.limiting(late, 0.05):
        until = time.monotonic() + 10
        while not late.terminate and time.monotonic() < until:
            time.sleep(0.01)
    assert late.terminate
    assert not any(run.terminate for run in (early, *runs))


def test_a_forward_pass_goes_with_its_last_window(tiny_bundle):
    """No reference leads back to it, or spectra would pile up until the garbage collector comes."""
    with earmark.load(tiny_bundle, "cpu") as explainer:
        window = next(engine_of(explainer).windows(open_sound(tone(), RATE, RATE)))
        assert all(array.size for array in window.taps.values())
        batch = weakref.ref(window.batch)
        gc.disable()
        try:
            del window
            assert batch() is None
        finally:
            gc.enable()
