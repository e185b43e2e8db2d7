"""Front ends described by Hugging Face's configurations, by graphs and by files."""

import json

import frontend_originals as originals
import numpy as np
import pytest
from frontend_graphs import answers
from saved_graph import node, saved

import earmark
from earmark.errors import SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.frontends.presets import PRESETS
from earmark.export.sources.onnx.file import load
from earmark.export.sources.onnx.frontends import open_frontend

LABELS = ["a", "b", "c"]


def configuration(path, kind, **fields):
    path.write_text(json.dumps({"feature_extractor_type": kind, "return_attention_mask": False, **fields}))
    return str(path)


def test_hugging_faces_waveforms(tmp_path):
    """Zero mean and unit variance: the runtime divides, once, and the front end subtracts."""
    config = configuration(
        tmp_path / "preprocessor_config.json", "Wav2Vec2FeatureExtractor", do_normalize=True
    )
    front = open_frontend(config)
    path = tmp_path / "net.onnx"
    nodes = [
        node("Reshape", "x shape", "rows"),
        node("Conv", "rows kernel", "maps", strides=[16]),
        node("Relu", "maps", "active"),
        node("ReduceMean", "active", "y", axes=[2], keepdims=0),
    ]
    kernel = np.random.default_rng(0).standard_normal((3, 1, 32)).astype(np.float32) / 8
    constants = {"kernel": kernel, "shape": np.array([0, 1, -1])}
    saved(path, nodes, constants, {"x": ["batch", "samples"]}, {"y": ["batch", 3]}, opset=13)
    source = load(path, labels=LABELS, frontend=front, window_seconds=1.0, scores="logits")
    manifest = write_bundle(source, tmp_path / "b")
    assert manifest.level == "unit_variance"
    sound = 0.1 * originals.sound_of(16000, 0.9) + np.float32(0.05)
    normalised = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    with earmark.load(tmp_path / "b", device="cpu") as explainer:
        result = explainer.explain(sound, sample_rate=16000, methods=[])
        np.testing.assert_allclose(result.logits, answers(path, normalised[None])[0], atol=1e-4)
        silent = explainer.explain(np.zeros(9000, np.float32), sample_rate=16000, methods=[])
        np.testing.assert_allclose(silent.logits, 0.0, atol=1e-6)


def test_hugging_faces_configurations(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    ast = open_frontend(configuration(path, "ASTFeatureExtractor", num_mel_bins=64, max_length=50, mean=-3.0))
    assert ast.description.mel.bins == 64
    # The padding is 0 before it is normalised.
    np.testing.assert_allclose(
        ast.rows(originals.sound_of(16000, 0.1))[0, -1], 3.0 / (2 * 4.5689974), rtol=1e-6
    )
    plain = open_frontend(configuration(path, "ASTFeatureExtractor", do_normalize=False))
    assert plain.rows(originals.sound_of(16000, 0.1))[0, -1, 0] == 0.0
    whisper = open_frontend(configuration(path, "WhisperFeatureExtractor", feature_size=128, chunk_length=5))
    assert whisper.rows(originals.sound_of(16000, 0.1)).shape == (1, 128, 500)
    told = {"truncation": "rand_trunc", "frequency_min": 50, "top_db": None, "padding": "repeatpad"}
    clap = open_frontend(configuration(path, "ClapFeatureExtractor", **told))
    assert clap.description == PRESETS["clap"]
    fused = open_frontend(configuration(path, "ClapFeatureExtractor", max_length_s=1))
    rows = fused.rows(originals.sound_of(48000, 0.5))
    assert rows.shape == (1, 4, 101, 64)
    stacked = open_frontend(configuration(path, "SeamlessM4TFeatureExtractor"))
    rows = stacked.rows(originals.sound_of(16000, 0.5))
    assert rows.shape == (1, 24, 160)
    np.testing.assert_allclose(rows.reshape(48, 80).std(axis=0, ddof=1), 1.0, rtol=1e-4)
    nested = {
        "feature_extractor": {"feature_extractor_type": "EncodecFeatureExtractor", "sampling_rate": 24000}
    }
    path.write_text(json.dumps(nested))
    assert open_frontend(str(path)).rows(np.zeros(100, np.float32)).shape == (1, 1, 100)


def test_configurations_that_are_not_known_are_refused(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    with pytest.raises(SourceError, match="'ViTFeatureExtractor' is not one of ASTFeatureExtractor"):
        open_frontend(configuration(path, "ViTFeatureExtractor"))
    with pytest.raises(SourceError, match="Expected `int`, got `str`"):
        open_frontend(configuration(path, "ASTFeatureExtractor", num_mel_bins="many"))
    path.write_text("[1]")
    with pytest.raises(SourceError, match="feature_extractor_type None"):
        open_frontend(str(path))
