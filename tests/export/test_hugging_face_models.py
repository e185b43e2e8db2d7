"""Hugging Face folders as sources, against extractor and model of transformers.

Needs the extra test-frontends: `pytest -m originals`.
"""

import frontend_originals as originals
import hugging_face_folders
import numpy as np
import pytest
from command_line import invoke
from hugging_face_folders import KINDS, LABELS, logits_of, write_clap, write_folder
from refusals import refuses

import earmark
from earmark.errors import SourceError
from earmark.export.exporting import export_bundle
from earmark.export.sources import open_source

pytestmark = pytest.mark.originals
without_compiled_torchaudio = hugging_face_folders.without_compiled_torchaudio


def sound_of(seconds):
    return originals.sound_of(16000, seconds) + np.float32(0.01)


def test_weights_are_taken_before_a_graph_beside_them(tmp_path):
    write_folder("wav2vec2", tmp_path)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    source = open_source(tmp_path)
    assert source.feature_map is not None
    said = "the weights are taken and not onnx/model.onnx beside them"
    assert any(said in doubt for doubt in source.doubts)


@pytest.mark.parametrize(("kind", "rescore"), [("ast", "waveform"), ("wav2vec2", "waveform")])
def test_bundles_answer_as_the_original_pipeline(tmp_path, kind, rescore):
    model, extractor = write_folder(kind, tmp_path / "model", problem_type="single_label_classification")
    window = {"window_seconds": 1.0} if kind == "wav2vec2" else {}
    manifest = export_bundle(tmp_path / "model", tmp_path / "bundle", on_doubt=lambda _: None, **window)
    assert manifest.labels == list(LABELS.values())
    assert manifest.rescore == rescore
    assert manifest.feature_map.additive == (kind == "wav2vec2")
    with earmark.load(tmp_path / "bundle", device="cpu") as explainer:
        for seconds in (0.6, 0.98):
            sound = sound_of(seconds)
            expected = logits_of(model, extractor, sound)
            assert np.ptp(expected) > 0.01
            result = explainer.explain(sound, sample_rate=16000, methods=[])
            np.testing.assert_allclose(result.logits, expected, atol=1e-4)


@pytest.mark.parametrize("kind", [*KINDS, "whisper"])
def test_sources_answer_as_the_original_pipeline(tmp_path, kind):
    """Modules and reference; the graphs are held to them when a bundle is written."""
    import torch

    from earmark.runtime.audio.level import level_of

    model, extractor = write_folder(kind, tmp_path)
    source = open_source(tmp_path)
    sound = sound_of(1.0)
    level = np.float32(level_of(sound, source.level))
    waveform = torch.from_numpy(sound / level)[None]
    with torch.no_grad():
        answers = source.forward_pass(waveform)
        reference = source.reference.logits(waveform)
    expected = logits_of(model, extractor, sound)
    np.testing.assert_allclose(answers["logits"][0].numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(reference[0].numpy(), expected, atol=1e-4)
    # Tokens are 20 ms apart: their mean and the head give the logits.
    assert source.feature_map.frame_seconds == pytest.approx(0.02)
    pooled = answers["feature_map"].mean(dim=(2, 3))
    (layer,) = source.head_layers
    summed = pooled.numpy() @ layer.weight.T + layer.bias
    np.testing.assert_allclose(summed[0], expected, atol=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_clap_chooses_among_texts_as_the_zero_shot_pipeline(tmp_path, fused):
    import torch

    texts = ["heavy rain", "a dog", "wind"]
    pipeline = write_clap(tmp_path, texts, fused=fused)
    source = open_source(tmp_path)
    assert source.labels == texts
    assert source.taps["feature_map"] == ["batch", 32, 32, 2]
    for seconds in (0.3, 0.7, 1.0):
        sound = originals.sound_of(48000, seconds)
        expected = {one["label"]: one["score"] for one in pipeline(sound, candidate_labels=texts)}
        waveform = torch.from_numpy(sound)[None]
        with torch.no_grad():
            answers = [source.forward_pass(waveform)["logits"], source.reference.logits(waveform)]
        for logits in answers:
            scores = dict(zip(texts, torch.softmax(logits[0], 0).tolist(), strict=True))
            assert scores == pytest.approx(expected, abs=2e-4)
    (tmp_path / "labels.txt").unlink()
    refuses(SourceError, r"put labels\.txt beside config\.json", open_source, tmp_path)


def test_a_clap_becomes_a_bundle(tmp_path):
    texts = ["heavy rain", "a dog", "wind"]
    pipeline = write_clap(tmp_path / "model", texts, fused=True)
    export_bundle(tmp_path / "model", tmp_path / "bundle", on_doubt=lambda _: None)
    with earmark.load(tmp_path / "bundle", device="cpu") as explainer:
        sound = originals.sound_of(48000, 0.4)
        expected = pipeline(sound, candidate_labels=texts)
        result = explainer.explain(sound, sample_rate=48000, methods=[])
        assert dict(result.predictions) == pytest.approx(
            {one["label"]: one["score"] for one in expected}, abs=2e-4
        )


def test_tokens_of_ast_lie_where_their_sound_is(tmp_path):
    import torch

    write_folder("ast", tmp_path)
    source = open_source(tmp_path)
    quiet = 0.001 * torch.randn(1, 15840, generator=torch.Generator().manual_seed(0))
    clicked = quiet.clone()
    clicked[:, 8000:8200] += 0.5 * torch.sin(2 * torch.pi * 3000 * torch.arange(200) / 16000)
    # The first layer's tokens: what deeper ones mix is not told by a place.
    with torch.no_grad():
        change = source.forward_pass(clicked)["middle"] - source.forward_pass(quiet)["middle"]
    moved = change.square().sum(dim=1)[0]
    frame, row = np.unravel_index(int(moved.argmax()), moved.shape)
    assert abs(frame * source.feature_map.frame_seconds - 0.5) <= 0.2
    low, high = source.feature_map.bands_hz[row]
    assert low <= 3000 <= high


@pytest.mark.parametrize("kind", ["ast", "wav2vec2", "whisper", "clap"])
def test_the_scores_depend_on_every_map(tmp_path, kind):
    """Beyond tokens that stand for no place: of an AST's last ones those of its classes alone are read."""
    import torch

    if kind == "clap":
        write_clap(tmp_path, ["heavy rain", "a dog", "wind"], fused=False)
    else:
        write_folder(kind, tmp_path)
    source = open_source(tmp_path)
    module = source.classifier
    sound = originals.sound_of(source.sample_rate, source.window.seconds)
    entry = source.frontend(torch.from_numpy(sound)[None])
    kept = {}
    for name in module.grids:

        def keep(_module, _inputs, output, name=name):
            kept[name] = output if isinstance(output, torch.Tensor) else output[0]

        module.model.get_submodule(name).register_forward_hook(keep)
    logits = module(entry.requires_grad_())[0]
    gradients = torch.autograd.grad(logits.square().sum(), [kept[name] for name in module.grids])
    for (name, grid), gradient in zip(module.grids.items(), gradients, strict=True):
        assert grid.feature_map(gradient).abs().amax() > 1e-6, name


def test_damaged_weights_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    write_folder("ast", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "classifier" not in k}, tmp_path / "model.safetensors")
    refuses(SourceError, "missing keys classifier", open_source, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    refuses(SourceError, "cannot load it as ASTFor", open_source, tmp_path)


@pytest.mark.parametrize("kind", ["ast", "wav2vec2"])
def test_masks_are_trained_over_a_folder(tmp_path, kind):
    from tones import write_tones

    write_folder(kind, tmp_path / "model")
    (tmp_path / "data").mkdir()
    write_tones(tmp_path / "data")
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    invoke("train", "lmac", tmp_path / "model", tmp_path / "data", "-o", run, "--epochs", 1, code=0)
    invoke("export", tmp_path / "model", "--decoder", run, "-o", bundle, code=0)
    invoke("index", bundle, tmp_path / "data", code=0)
    with earmark.load(bundle, device="cpu") as explainer:
        assert {"mask", "prototypes"} <= set(explainer.explain(sound_of(1.0), sample_rate=16000).parts)
