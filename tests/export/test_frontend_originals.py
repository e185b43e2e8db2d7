"""Front ends against the libraries that they are of, and Hugging Face models against their own pipelines.

Needs the extra test-frontends: `pytest -m originals`.
"""

import frontend_originals as originals
import hugging_face_folders
import numpy as np
import pytest
import soundfile
from frontend_graphs import assert_close, by_graph
from hugging_face_folders import logits_of, write_folder

import earmark
from earmark.export.bundle.write import write_bundle
from earmark.export.frontends.presets import PRESETS
from earmark.export.sources.onnx.file import load
from earmark.export.sources.onnx.frontends import open_frontend
from earmark.runtime.audio.sound import read_mono
from earmark.runtime.explainer import SHIPPED

pytestmark = pytest.mark.originals
without_compiled_torchaudio = hugging_face_folders.without_compiled_torchaudio
LABELS = ["a", "b", "c"]
EXAMPLE = SHIPPED.parent / "example.flac"


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_their_originals(name):
    rate = originals.RATES[name]
    front = open_frontend(name)
    for sound in (originals.sound_of(rate), originals.sound_of(rate, 0.37), read_mono(EXAMPLE, rate)):
        theirs = np.asarray(originals.ORIGINALS[name](sound), np.float64)
        assert_close(front.rows(sound), theirs)
        padded = np.pad(sound, (0, max(0, (front.samples or 0) - len(sound))))
        assert_close(by_graph(front, padded[None]), theirs)


def test_the_kept_values_are_theirs():
    held = np.load(originals.VALUES)
    for name, make in originals.ORIGINALS.items():
        theirs = originals.kept(make(originals.sound_of(originals.RATES[name])))
        assert_close(held[name], theirs.astype(np.float64), 1e-4)


EXTRACTORS = [
    ("ASTFeatureExtractor", {"num_mel_bins": 64, "max_length": 300, "mean": -3.5, "std": 4.0}),
    ("ASTFeatureExtractor", {"do_normalize": False, "max_length": 100}),
    ("WhisperFeatureExtractor", {"feature_size": 128, "chunk_length": 10}),
    ("Wav2Vec2FeatureExtractor", {"do_normalize": True}),
    ("Wav2Vec2FeatureExtractor", {"do_normalize": False}),
    ("SeamlessM4TFeatureExtractor", {}),
    ("ClapFeatureExtractor", {"truncation": "rand_trunc", "padding": "repeat", "frequency_min": 50}),
    ("ClapFeatureExtractor", {"truncation": "rand_trunc", "padding": "pad", "max_length_s": 5}),
    ("ClapFeatureExtractor", {"truncation": "fusion"}),
    ("EncodecFeatureExtractor", {"sampling_rate": 24000}),
]


@pytest.mark.parametrize(
    ("kind", "fields"), EXTRACTORS, ids=[f"{kind}-{at}" for at, (kind, _) in enumerate(EXTRACTORS)]
)
def test_extractors_are_read_as_they_write_themselves(tmp_path, kind, fields):
    import transformers

    extractor = getattr(transformers, kind)(**fields)
    extractor.save_pretrained(tmp_path)
    front = open_frontend(str(tmp_path / "preprocessor_config.json"))
    sound = originals.sound_of(front.sample_rate, 1.5)
    sound = (sound + np.float32(0.01)) * np.float32(0.5)
    theirs = extractor(sound, sampling_rate=front.sample_rate, return_tensors="np")
    (features,) = (theirs[name] for name in ("input_values", "input_features") if name in theirs)
    from earmark.runtime.audio.level import level_of

    assert_close(
        front.rows((sound / level_of(sound, front.level)).astype(np.float32)), features.astype(float)
    )


@pytest.mark.parametrize("kind", ["ast", "whisper", "wav2vec2"])
def test_models_answer_as_their_pipelines(tmp_path, kind):
    """Logits of the bundle against extractor and model in PyTorch, on synthesised and recorded-like sound."""
    import torch

    model, extractor = write_folder(kind, tmp_path)
    sounds = [originals.sound_of(16000, 0.75), read_mono(EXAMPLE, 16000)[:15000]]

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x).logits

    example = extractor(sounds[0], sampling_rate=16000, return_tensors="pt")[model.main_input_name]
    axes = {"x": {0: "batch"}, "y": {0: "batch"}}
    if kind == "wav2vec2":
        axes["x"][1] = "samples"
    torch.onnx.export(
        Logits().eval(), (example,), str(tmp_path / "net.onnx"), input_names=["x"], output_names=["y"],
        dynamic_axes=axes, dynamo=False, opset_version=17,
    )  # fmt: skip
    front = open_frontend(str(tmp_path / "preprocessor_config.json"))
    source = load(
        tmp_path / "net.onnx",
        labels=LABELS,
        frontend=front,
        window_seconds=1.0 if front.window is None else None,
    )
    manifest = write_bundle(source, tmp_path / "bundle")
    assert manifest.rescore == ("spectrogram" if kind == "whisper" else "waveform")
    with earmark.load(tmp_path / "bundle", device="cpu") as explainer:
        for sound in sounds:
            expected = logits_of(model, extractor, sound)
            assert np.ptp(expected) > 0.01
            result = explainer.explain(sound, sample_rate=16000, methods=[])
            np.testing.assert_allclose(result.logits, expected, atol=1e-4)


def test_the_check_takes_a_pipelines_features(tmp_path):
    from earmark.export.frontends.check import check_features

    sound = originals.sound_of(16000)
    soundfile.write(tmp_path / "clip.wav", sound, 16000, subtype="FLOAT")
    np.save(tmp_path / "features.npy", originals.ast(sound))
    said = check_features(open_frontend("ast"), tmp_path / "clip.wav", tmp_path / "features.npy")
    assert "differ by at most" in said
