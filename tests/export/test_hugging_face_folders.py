"""What a Hugging Face folder says of itself, and what is refused; transformers is not needed for either."""

import json

import numpy as np
import pytest
from command_line import invoke
from later import later
from refusals import refuses
from saved_graph import node, saved

import earmark
from earmark.errors import RunError, SourceError
from earmark.export.exporting import export_bundle
from earmark.export.sources import open_source

opened_source = later("earmark.export.training.over_source", "opened_source")
run_directory = later("earmark.export.training.apex.recipe", "run_directory")

CONFIG = {
    "architectures": ["Wav2Vec2ForSequenceClassification"],
    "model_type": "wav2vec2",
    "id2label": {"0": "hum", "1": "tone"},
    "problem_type": "multi_label_classification",
}
PREPROCESSOR = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000}


def write(folder, config=CONFIG, preprocessor=PREPROCESSOR):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architectures": ["Wav2Vec2ForCTC"]}, "names Wav2Vec2ForCTC .*docs/adapters.md"),
        ({"architectures": ["MyModel"], "auto_map": {"AutoModel": "x.MyModel"}}, "names MyModel"),
        ({"problem_type": "regression"}, "is a regression"),
        ({"problem_type": "strange"}, "problem_type"),
        ({"id2label": {"0": "hum", "2": "tone"}}, r"0, 1, 2, \.\.\., but has \[0, 2\]"),
        ({"id2label": {"zero": "hum"}}, "keys that are no numbers"),
        ({}, "model.safetensors"),
    ],
)
def test_what_is_no_classifier_is_refused(tmp_path, change, says):
    refuses(SourceError, says, open_source, write(tmp_path, {**CONFIG, **change}))


def test_a_front_end_is_asked_for(tmp_path):
    refuses(SourceError, r"no preprocessor_config\.json", open_source, write(tmp_path, preprocessor=None))


def test_pickles_are_never_loaded(tmp_path):
    (write(tmp_path) / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    refuses(SourceError, r"pytorch_model\.bin is pickled.*save_pretrained", open_source, tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    refuses(SourceError, "PEFT adapter", open_source, tmp_path)


def write_graph(path, factors=(3.0, -2.0)):
    """[B, N] -> mean square and mean: what the extractor makes of a sound has mean 0 and mean square 1."""
    squares = [
        node("Mul", "x x", "squares"),
        node("ReduceMean", "squares axes", "loud", keepdims=1),
        node("ReduceMean", "x axes", "mean", keepdims=1),
        node("Concat", "loud mean", "both", axis=1),
        node("Mul", "both factors", "logits"),
    ]
    path.parent.mkdir(exist_ok=True)
    constants = {"axes": np.array([1]), "factors": np.array(factors, np.float32)}
    saved(path, squares, constants, {"x": ["batch", "samples"]}, {"logits": ["batch", 2]}, opset=18)


def logits_of(bundle):
    sound = 0.2 + 0.1 * np.random.default_rng(0).standard_normal(16000).astype("float32")
    with earmark.load(bundle, device="cpu") as explainer:
        return explainer.explain(sound, sample_rate=16000, methods=[]).logits


@pytest.mark.parametrize("place", ["onnx/model.onnx", "model_fp32.onnx"])
def test_optimums_graph_is_taken_with_its_labels_task_and_front_end(tmp_path, place):
    folder = write(tmp_path / "model")
    write_graph(folder / place)
    manifest = export_bundle(folder, tmp_path / "bundle", on_doubt=lambda _: None)
    assert (manifest.labels, manifest.task, manifest.level) == (
        ["hum", "tone"],
        "multi_label",
        "unit_variance",
    )
    np.testing.assert_allclose(logits_of(tmp_path / "bundle"), [3.0, 0.0], atol=1e-3)


def test_of_several_graphs_the_usual_one_is_taken_and_any_by_its_name(tmp_path):
    """Any with what the folder says; options go before it."""
    folder = write(tmp_path / "model")
    write_graph(folder / "onnx/model.onnx")
    write_graph(folder / "onnx/model_quantized.onnx", (5.0, -2.0))
    source = open_source(folder)
    assert source.original.path == folder / "onnx" / "model.onnx"
    assert any("model.onnx is taken; model_quantized.onnx beside it" in one for one in source.doubts)
    assert open_source(folder / "onnx").original.path == folder / "onnx" / "model.onnx"

    named = folder / "onnx" / "model_quantized.onnx"
    invoke("export", named, "-o", tmp_path / "named", code=0, says=f"is read from {folder / 'config.json'}")
    np.testing.assert_allclose(logits_of(tmp_path / "named"), [5.0, 0.0], atol=1e-3)
    invoke("export", named, "-o", tmp_path / "own", "--labels", "a,b", code=2, says="give --sample-rate")

    (folder / "onnx" / "model.onnx").rename(folder / "onnx" / "model_fp16.onnx")
    refuses(SourceError, r"holds model_fp16\.onnx, model_quantized\.onnx; name the one", open_source, folder)


def test_weights_of_a_class_that_is_not_known_leave_the_graph(tmp_path):
    folder = write(tmp_path / "model", {**CONFIG, "architectures": ["MyModel"]})
    (folder / "model.safetensors").write_bytes(b"")
    write_graph(folder / "onnx/model.onnx")
    source = open_source(folder)
    assert source.original.path == folder / "onnx" / "model.onnx"
    assert any("model.onnx is taken and not the weights beside it: MyModel" in one for one in source.doubts)


def test_clap_asks_for_its_texts(tmp_path):
    with pytest.raises(SourceError, match=r"put labels\.txt beside config\.json, one a line"):
        open_source(write(tmp_path, {**CONFIG, "architectures": ["ClapModel"], "id2label": {}}))
    (tmp_path / "labels.txt").write_text("rain\nrain\n")
    refuses(SourceError, "two or more different texts", open_source, tmp_path)


def test_no_folder_of_a_model_is_taken_for_a_run(tmp_path):
    """Both have a config.json."""

    refuses(RunError, "say by -o RUN where U goes", run_directory, write(tmp_path))
    refuses(SourceError, r"model\.safetensors", opened_source, tmp_path, tmp_path / "run")
