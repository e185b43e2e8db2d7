"""A recurrent state that goes from window to window: against onnxruntime, chunk by chunk."""

import numpy as np
import onnxruntime
import pytest
from command_line import invoke
from onnx import helper
from saved_graph import node, saved

import earmark
from earmark.errors import MethodError, SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.sources.onnx.file import load
from earmark.export.sources.onnx.side_inputs import GivenInputs
from earmark.export.sources.onnx.trainable import trainable
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.engine import Engine
from earmark.runtime.explainer import engine_of

RATE, CHUNK, CONTEXT, SIZE = 8000, 400, 80, 6
LABELS = ["low", "high"]
CARRY = {"state": "carry:hn", "c": "carry:cn"}


def recurrent(path):
    """40 samples a frame through an LSTM, whose last hidden state gives the scores."""
    random = np.random.default_rng(5)
    constants = {
        "row": np.array([1, 1, -1], np.int64),
        "flat": np.array([1, SIZE], np.int64),
        "kernel": random.standard_normal((4, 1, 40)).astype(np.float32),
        "w": random.standard_normal((1, 4 * SIZE, 4)).astype(np.float32),
        "r": 0.5 * random.standard_normal((1, 4 * SIZE, SIZE)).astype(np.float32),
        "b": np.repeat(np.float32([0, 0, 2, 0, 0, 0, 0, 0]), SIZE)[None],
        "matrix": 3 * random.standard_normal((SIZE, 2)).astype(np.float32),
        "bias": random.standard_normal(2).astype(np.float32),
    }
    nodes = [
        node("Reshape", "x row", "wave"),
        node("Conv", "wave kernel", "frames", strides=[40]),
        node("Transpose", "frames", "steps", perm=[2, 0, 1]),
        helper.make_node(
            "LSTM", ["steps", "w", "r", "b", "", "state", "c"], ["", "hn", "cn"], hidden_size=SIZE
        ),
        node("Reshape", "hn flat", "last"),
        node("Gemm", "last matrix bias", "logits"),
        node("Sigmoid", "logits", "scores"),
    ]
    state = [1, 1, SIZE]
    inputs, outputs = (
        {"x": [1, "n"], "state": state, "c": state},
        {"scores": [1, 2], "hn": state, "cn": state},
    )
    return saved(path, nodes, constants, inputs, outputs)


def opened(path, states=CARRY, context=CONTEXT):
    return load(
        path,
        labels=LABELS,
        sample_rate=RATE,
        window_seconds=CHUNK / RATE,
        task="multi_label",
        scores="probabilities",
        output="scores",
        inputs=GivenInputs(states=states, context_seconds=context / RATE),
    )


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return recurrent(tmp_path_factory.mktemp("graph") / "recurrent.onnx")


@pytest.fixture(scope="module")
def bundle(graph):
    path = graph.parent / "bundle"
    write_bundle(opened(graph), path)
    return path


def in_turn(graph, sound):
    """The scores [W, 2] of each chunk, as a pipeline of one's own carries state and context."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    h = c = np.zeros((1, 1, SIZE), np.float32)
    before, scores = np.zeros((1, CONTEXT), np.float32), []
    for start in range(0, len(sound), CHUNK):
        chunk = sound[start : start + CHUNK]
        given = np.concatenate([before, np.pad(chunk, (0, CHUNK - len(chunk)))[None]], axis=1)
        row, h, c = session.run(None, {"x": given, "state": h, "c": c})
        before = given[:, -CONTEXT:]
        scores.append(row[0])
    return np.array(scores)


def sound_of(chunks, seed=0):
    return (0.3 * np.random.default_rng(seed).standard_normal(int(chunks * CHUNK))).astype(np.float32)


def test_every_window_goes_on_from_the_one_before(graph, bundle):
    sound = sound_of(9.3)
    expected = in_turn(graph, sound)
    with earmark.load(bundle, device="cpu") as explainer:
        windows = explainer.explain((sound, RATE), methods=[]).windows
        np.testing.assert_allclose(windows.scores, expected, atol=1e-5)
        np.testing.assert_allclose(windows.start_s, np.arange(10) * CHUNK / RATE)
        alone = explainer.explain((sound[CHUNK:], RATE), methods=[]).windows.scores
        assert np.abs(alone[:3] - expected[1:4]).max() > 1e-3
        sounds = [sound_of(length, 1 + number) for number, length in enumerate((0.5, 1.0, 1.005, 3.0, 1.0))]
        for one, result in zip(
            sounds,
            explainer.explain_many([(one, RATE) for one in sounds], methods=[], batch_size=4),
            strict=True,
        ):
            np.testing.assert_allclose(result.windows.scores, in_turn(graph, one), atol=1e-5)
        stream, given = explainer.stream(RATE), []
        for start in range(0, len(sound), 333):
            given += stream.push(sound[start : start + 333])
        given += stream.finish()
        scores = [one.scores for one in given if isinstance(one, earmark.ScoredWindow)]
        np.testing.assert_allclose(np.array(scores), expected, atol=1e-5)


def test_clips_and_questions_begin_with_the_recorded_state(graph, bundle):
    sound = sound_of(40)
    expected = in_turn(graph, sound)
    label = int(np.ptp(expected[4:], axis=0).argmax())
    level = float(np.median(expected[:, label]))
    options = {"segments": {"segment_seconds": 0.01, "calls": 40}}
    with earmark.load(bundle, device="cpu") as explainer:
        found = [
            one
            for one in explainer.detect(
                (sound, RATE), min_score=level, labels=[LABELS[label]], methods=["segments"], options=options
            )
            if one.windows.start > 0
        ]
        assert len(found) > 2
        assert not [one.warnings for one in found if one.warnings]
        for one in found:
            rows = one.explanation.windows.scores
            np.testing.assert_allclose(rows, expected[one.windows.start :][: len(rows)], atol=1e-5)
    with Engine(bundle, "cpu") as engine:
        (_, second, *_) = engine.windows(open_sound((sound, RATE), None, RATE))
        again = engine.pipeline.logits_of(np.stack([second.waveform] * 3), state=second.state)
        np.testing.assert_allclose(again, np.stack([second.logits] * 3), atol=1e-5)
        assert np.abs(engine.pipeline.logits_of(second.waveform[None]) - second.logits).max() > 1e-3
        with pytest.raises(MethodError, match=r"hands its state from each window.*--state NAME=zeros"):
            engine.logits_of(second.waveform[None])


def test_what_cannot_carry_a_state_says_so(graph, bundle, tmp_path):
    invoke("verify", bundle, code=0)
    with earmark.load(bundle, device="cpu") as explainer:
        with pytest.raises(MethodError, match="do not overlap; leave hop_s out"):
            explainer.explain((sound_of(4), RATE), hop_s=0.025)
        assert engine_of(explainer).manifest.state_size == 2 * SIZE + CONTEXT
    with pytest.raises(SourceError, match=r"training does not.*--state NAME=zeros"):
        trainable(opened(graph))
    words = ("export", bundle, "--fused", tmp_path / "one.onnx")
    invoke(*words, code=1, says="hands its state from window to window")
    with pytest.raises(SourceError, match=r"hn, cn of its outputs.*--state state=carry:OUTPUT"):
        opened(graph, states={"state": "carry", "c": "carry"})
    with pytest.raises(SourceError, match="has no output 'x'"):
        opened(graph, states={"state": "carry:x", "c": "zeros"})
