"""A bundle as a model repository of Triton, read by Triton's own types."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import invoke

import earmark
from earmark.errors import BundleError
from earmark.export.fused.triton import model_name, write_repository
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.opening import open_bundle


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("triton") / "models"
    write_repository(open_bundle(SHIPPED), path)
    return path


@pytest.fixture(scope="module")
def model(repository):
    return next(repository.iterdir())


def test_its_graph_answers_as_the_bundle(model):
    assert sorted(str(one.relative_to(model)) for one in model.rglob("*") if one.is_file()) == [
        "1/model.onnx",
        "1/model.onnx.data",
        "config.pbtxt",
        "labels.txt",
    ]
    explainer = earmark.load(SHIPPED, "cpu")
    assert (model / "labels.txt").read_text().splitlines() == explainer.labels
    wave = np.random.default_rng(0).uniform(-0.1, 0.1, 16000).astype(np.float32)
    session = onnxruntime.InferenceSession(
        str(model / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    (scores,) = session.run(["scores"], {"waveform": wave[None]})
    expected = dict(explainer.explain(wave, 16000, methods=[]).predictions)
    assert scores[0] == pytest.approx([expected[label] for label in explainer.labels], abs=1e-5)


def test_what_is_there_is_replaced_by_force_alone(repository, model):
    (repository / "other").mkdir(exist_ok=True)
    before = (model / "1" / "model.onnx").stat().st_ino
    with pytest.raises(BundleError, match="exists; choose another repository"):
        write_repository(open_bundle(SHIPPED), repository)
    assert (model / "1" / "model.onnx").stat().st_ino == before
    write_repository(open_bundle(SHIPPED), repository, force=True)
    assert (model / "1" / "model.onnx").stat().st_ino != before
    assert sorted(one.name for one in repository.iterdir()) == [model.name, "other"]
    (repository / "other").rmdir()


def test_the_command_writes_it(tmp_path):
    told = invoke("export", SHIPPED, "--layout", "triton", tmp_path / "models", code=0)
    (model,) = (tmp_path / "models").iterdir()
    assert (
        f"a model repository with the model {model.name}; differs from the bundle by at most" in told.stdout
    )
    again = invoke("export", SHIPPED, "--layout", "triton", tmp_path / "models")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "exists" in again.stderr
    invoke("export", SHIPPED, "--layout", "torchserve", tmp_path, code=2)


@pytest.mark.parametrize(
    ("name", "taken"),
    [("drum hits", "drum_hits"), ("Vögel/Nacht", "V_gel_Nacht"), ("..", "earmark"), ("v1.2-b", "v1.2-b")],
)
def test_names(name, taken):
    assert model_name(name) == taken


@pytest.mark.triton
def test_triton_reads_the_configuration(model):
    text_format = pytest.importorskip("google.protobuf.text_format")
    # The types alone: the package itself imports gRPC.
    package = Path(importlib.util.find_spec("tritonclient").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("model_config", package / "grpc" / "model_config_pb2.py")
    types = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(types)
    config = text_format.Parse((model / "config.pbtxt").read_text(), types.ModelConfig())
    assert (config.name, config.platform) == (model.name, "onnxruntime_onnx")
    assert config.max_batch_size >= 1
    assert config.HasField("dynamic_batching")
    assert [(one.name, one.data_type, list(one.dims)) for one in config.input] == [
        ("waveform", types.TYPE_FP32, [-1])
    ]
    graph = onnx.load(model / "1" / "model.onnx", load_external_data=False).graph
    assert [one.name for one in config.output] == [one.name for one in graph.output]
    labels = len((model / "labels.txt").read_text().splitlines())
    dims = {one.name: list(one.dims) for one in config.output}
    assert (dims["scores"], dims["kept"]) == ([labels], [-1])
    assert [one.name for one in config.output if one.label_filename == "labels.txt"] == ["scores"]
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters["sample_rate"] == "16000"
    assert parameters["labels"].startswith('["bell", ')
