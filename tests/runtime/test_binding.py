"""Tensors stay with the provider between stages; here the CPU does the work of one that runs nothing."""

import numpy as np
import pytest
from onnxruntime import IOBinding
from runtime_sounds import RATE, tone

import earmark
from earmark.runtime.engine import Engine
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference import session
from earmark.runtime.inference.failures import DeviceMemoryError
from earmark.runtime.inference.tensors import DeviceTensor
from earmark.runtime.inference.window import Clock

# Builds of onnxruntime for the CPU have this provider, which runs no operator of a graph.
BOUND = ["AzureExecutionProvider", "CPUExecutionProvider"]
CUDA_SAYS = "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/cuda_call.cc:124 bool onnxruntime::CudaCall() "


@pytest.fixture
def waves():
    random = np.random.default_rng(0)
    return [tone() * np.float32(level) for level in random.uniform(0.2, 1.0, 5)]


@pytest.fixture
def copied(monkeypatch):
    """The names of the tensors that were copied to the host."""
    names = []
    check = session.check_numbers

    def noted(name, *rest):
        names.append(name)
        check(name, *rest)

    monkeypatch.setattr(session, "check_numbers", noted)
    return names


def answers(explainer, waves, **options):
    return list(explainer.explain_many(waves, sample_rate=RATE, batch_size=len(waves), **options))


def test_answers_are_those_of_the_cpu(tiny_bundle, waves):
    plain, bound = earmark.load(tiny_bundle, "cpu"), earmark.load(tiny_bundle, providers=BOUND)
    for one, other in zip(answers(plain, waves), answers(bound, waves), strict=True):
        np.testing.assert_allclose(other.logits, one.logits, atol=1e-6)
        np.testing.assert_allclose(other.mask.values, one.mask.values, atol=1e-6)
        np.testing.assert_allclose(other.mask.audio, one.mask.audio, atol=1e-6)


@pytest.mark.parametrize(("seconds", "channels"), [(0.4, None), (1.0, 2), (3.3, None)])
def test_sound_is_made_on_the_device(tiny_bundle, copied, seconds, channels):
    found = []
    for how in ({"device": "cpu"}, {"providers": BOUND}):
        explainer = earmark.load(tiny_bundle, **how)
        found.append(explainer.explain(tone(seconds, channels=channels), RATE, rescore=True))
    expected, bound = found
    # Channels share one mask, but each has a spectrogram of its own: the host makes their sound.
    assert ("kept" in copied) == (channels is None)
    np.testing.assert_allclose(bound.mask.audio, expected.mask.audio, atol=1e-5)
    np.testing.assert_allclose(bound.mask.residual, expected.mask.residual, atol=1e-5)
    for domain, scores in expected.rescored.items():
        assert bound.rescored[domain]["mask_in"] == pytest.approx(scores["mask_in"], abs=1e-5)


def test_what_is_known_of_a_mask_is_that_of_the_cpu():
    plain, bound = (
        earmark.load(**how).explain(tone(1.5), RATE, methods=["mask"])
        for how in ({"device": "cpu"}, {"providers": BOUND})
    )
    assert bound.trust.kept == pytest.approx(plain.trust.kept, abs=1e-5)
    assert bound.trust.removed == pytest.approx(plain.trust.removed, abs=1e-5)
    assert (bound.mask.spans, bound.mask.band) == (plain.mask.spans, plain.mask.band)
    np.testing.assert_allclose(bound.mask.overview.amplitude, plain.mask.overview.amplitude, atol=1e-4)


def test_what_nobody_looks_at_is_not_copied(tiny_bundle, waves, copied):
    explainer = earmark.load(tiny_bundle, providers=BOUND)
    explainer.explain(waves[0], RATE, methods=[])
    assert copied == ["logits"]
    copied.clear()
    explainer.explain(waves[0], RATE, methods=["mask"])
    assert sorted(copied) == ["energies", "kept", "logits", "mask"]


def test_the_decoder_is_asked_about_the_whole_batch(tiny_bundle, waves, copied):
    found = answers(earmark.load(tiny_bundle, providers=BOUND), waves, methods=["mask"])
    assert copied.count("mask") == 1
    plain = earmark.load(tiny_bundle, "cpu")
    for one, wave in zip(found, waves, strict=True):
        alone = plain.explain(wave, RATE, methods=["mask"])
        np.testing.assert_allclose(one.mask.values, alone.mask.values, atol=1e-6)


def test_a_batch_is_classified_while_another_is_explained(tiny_bundle, waves, monkeypatch):
    monkeypatch.setattr(Engine, "device", property(lambda self: "cuda:0"))
    # As if the classifier were large.
    monkeypatch.setattr("earmark.runtime.engine.is_small", lambda graph: False)
    bound = earmark.load(tiny_bundle, providers=BOUND)
    assert engine_of(bound).aside is engine_of(bound).pipeline
    together = [one.mask.values for one in bound.explain_many(waves, sample_rate=RATE, batch_size=2)]
    alone = [bound.explain(wave, RATE, methods=["mask"]).mask.values for wave in waves]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_batch_may_be_asked_about_another_class(tiny_bundle, waves, copied):
    bound, plain = (
        engine_of(earmark.load(tiny_bundle, **how)) for how in ({"providers": BOUND}, {"device": "cpu"})
    )
    pieces = [(0, wave[None]) for wave in waves]
    masks = [
        [
            engine.window_mask("mask", window, target)
            for window in engine.pipeline.classified(pieces, Clock(), 1.0)
        ]
        for engine in (bound, plain)
        for target in (0, 1)
    ]
    # A row is asked for its own class together with others of theirs: at most twice for each class.
    assert copied.count("mask") <= 4 + 2 * len(waves)
    np.testing.assert_allclose(masks[:2], masks[2:], atol=1e-6)


def test_a_stage_takes_what_another_left(tiny_bundle, waves, copied):
    sessions = engine_of(earmark.load(tiny_bundle, providers=BOUND)).sessions
    stft = sessions.keep("frontend", {"waveform": np.stack(waves)})["stft"]
    assert isinstance(stft, DeviceTensor)
    logits = sessions.run("classifier", {"stft": stft}, ["logits"])["logits"]
    assert copied == ["logits"]
    again = sessions.run("classifier", {"stft": stft.array}, ["logits"])["logits"]
    np.testing.assert_array_equal(again, logits)
    assert stft.array is stft.array
    assert copied == ["logits", "stft", "logits"]


def limited(monkeypatch, most, text):
    """A provider that has memory for `most` sounds at once; how many each run was asked for."""
    sizes = []
    for way, size_of in (
        ("bind_cpu_input", lambda array: array.shape[0]),
        ("bind_ortvalue_input", lambda tensor: tensor.shape()[0]),
    ):
        bind = getattr(IOBinding, way)

        def bound(binding, name, value, bind=bind, size_of=size_of):
            sizes.append(size_of(value))
            if sizes[-1] > most:
                raise RuntimeError(text)
            return bind(binding, name, value)

        monkeypatch.setattr(IOBinding, way, bound)
    return sizes


NO_MEMORY = CUDA_SAYS + "Failed to allocate memory for requested buffer of size 1052672"


def test_memory_that_runs_out_halves_the_batch(tiny_bundle, waves, monkeypatch):
    explainer = earmark.load(tiny_bundle, providers=BOUND)
    whole = answers(explainer, waves)
    sizes = limited(monkeypatch, 2, NO_MEMORY)
    halved = answers(explainer, waves)
    assert sizes[:3] == [5, 2, 2]
    assert all(one.ok for one in halved)
    for one, other in zip(whole, halved, strict=True):
        np.testing.assert_allclose(other.logits, one.logits, atol=1e-6)
        np.testing.assert_allclose(other.mask.values, one.mask.values, atol=1e-6)
    waveforms = np.stack(waves)
    engine = engine_of(explainer)
    halves = engine.logits_of(waveforms)
    monkeypatch.undo()
    np.testing.assert_allclose(halves, engine.logits_of(waveforms), atol=1e-6)


def test_a_decoder_that_lacks_memory_for_the_batch_is_asked_once(tiny_bundle, waves, monkeypatch):
    whole = answers(earmark.load(tiny_bundle, providers=BOUND), waves, methods=["mask"])
    explainer, asked, keep = earmark.load(tiny_bundle, providers=BOUND), [], session.Sessions.keep

    def kept(self, stage, feeds, outputs=None):
        if stage == "decoder":
            asked.append(next(iter(feeds.values())).shape[0])
            if asked[-1] > 1:
                raise DeviceMemoryError("no memory is left")
        return keep(self, stage, feeds, outputs)

    monkeypatch.setattr(session.Sessions, "keep", kept)
    alone = answers(explainer, waves, methods=["mask"])
    assert asked == [5, 1, 1, 1, 1, 1]
    for one, other in zip(whole, alone, strict=True):
        np.testing.assert_allclose(other.mask.values, one.mask.values, atol=1e-6)


def test_shapes_alone_are_no_matter_for_a_warning(tiny_bundle, waves):
    (said,) = (
        line
        for line in earmark.load(tiny_bundle, providers=BOUND).explain(waves[0], RATE).warnings
        if line.startswith("masked sound: on the CPU")
    )
    assert "MatMul" in said
    assert "Shape" not in said
    assert "Gather" not in said


def test_memory_that_does_not_suffice_for_one_sound_is_its_error(tiny_bundle, waves, monkeypatch):
    explainer = earmark.load(tiny_bundle, providers=BOUND)
    limited(monkeypatch, 0, NO_MEMORY)
    with pytest.raises(DeviceMemoryError, match=r"no memory is left for frontend.onnx .*free the device"):
        explainer.explain(waves[0], RATE)
    assert [one.ok for one in answers(explainer, waves)] == [False] * len(waves)


def test_a_lost_device_is_named(tiny_bundle, waves, monkeypatch):
    explainer = earmark.load(tiny_bundle, providers=BOUND)
    limited(monkeypatch, 0, CUDA_SAYS + "CUDA failure 719: unspecified launch failure ; GPU=0")
    with pytest.raises(earmark.DeviceError, match=r"AzureExecutionProvider.*the device was lost"):
        explainer.explain(waves[0], RATE)


def test_a_mask_beyond_its_range_is_found_on_the_way_to_the_host(tiny_bundle, waves, monkeypatch):
    explainer = earmark.load(tiny_bundle, providers=BOUND)
    monkeypatch.setattr("earmark.runtime.inference.answers.MASK_ROUNDING", -1.0)
    with pytest.raises(earmark.BundleError, match=r"decoder\.onnx: answers with a mask from"):
        explainer.explain(waves[0], RATE, methods=["mask"])
