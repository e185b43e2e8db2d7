"""Weights of a stranger's .onnx: beside the graph, in a large file, and in memory once."""

import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from refusals import refuses
from runtime_sounds import run_python
from saved_graph import node
from waveform_cnn import TOLD, answers, by_hand, waves, write

from earmark.errors import SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.sources.onnx import reading
from earmark.export.sources.onnx.file import load


def test_weights_beside_the_graph(tmp_path):
    path = write(tmp_path / "net.onnx")
    model = onnx.load(path)
    big = numpy_helper.from_array(np.zeros((1 << 19,), np.float32), "big")
    model.graph.initializer.append(big)
    model.graph.node.insert(0, node("ReduceMean", "big", "zero", keepdims=0))
    model.graph.node[-1].output[0] = "almost"
    model.graph.node.append(node("Add", "almost zero", "logits"))
    onnx.save_model(model, path, save_as_external_data=True, location="net.bin", size_threshold=100)
    manifest = write_bundle(load(path, **TOLD), tmp_path / "bundle")
    assert manifest.stage("classifier").data == ["classifier.onnx.data"]
    np.testing.assert_allclose(
        answers(tmp_path / "bundle", waves(2, 4000)), by_hand(waves(2, 4000)), atol=1e-4
    )

    content = (tmp_path / "net.bin").read_bytes()
    (tmp_path / "net.bin").write_bytes(content[:1000])
    refuses(SourceError, r"net.onnx", load, path, **TOLD)
    (tmp_path / "net.bin").unlink()
    refuses(SourceError, "missing", load, path, **TOLD)
    # Neither a path nor a link leads out of the folder.
    outside = tmp_path / "elsewhere.bin"
    outside.write_bytes(content)
    inner = tmp_path / "inner"
    inner.mkdir()
    shutil.copy(path, inner / "net.onnx")
    (inner / "net.bin").symlink_to(outside)
    refuses(SourceError, "outside", load, inner / "net.onnx", **TOLD)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../elsewhere.bin"
    (inner / "up.onnx").write_bytes(model.SerializeToString())
    refuses(SourceError, "outside", load, inner / "up.onnx", **TOLD)


def test_weights_of_a_large_file_stay_in_it(tmp_path, monkeypatch):
    path = write(tmp_path / "net.onnx")
    model = onnx.load(path)
    random = np.random.default_rng(0)
    big = random.standard_normal((600, 600)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(big, "big"))
    model.graph.node.insert(0, node("ReduceMean", "big", "mean", keepdims=0))
    model.graph.node[-1].output[0] = "almost"
    model.graph.node.append(node("Add", "almost mean", "logits"))
    # Notes before and after the graph: fields may stand in any order.
    model.doc_string = "a note"
    content = model.SerializeToString() + onnx.ModelProto(producer_name="somebody").SerializeToString()
    path.write_bytes(content)
    monkeypatch.setattr(reading, "LARGE_FILE_BYTES", 1 << 20)
    found = reading.read_model(path)
    assert found.ByteSize() < 10_000 < len(content)
    assert (found.producer_name, found.doc_string) == ("somebody", "a note")
    (held,) = (one for one in found.graph.initializer if one.name == "big")
    np.testing.assert_array_equal(numpy_helper.to_array(held, str(tmp_path)), big)
    manifest = write_bundle(load(path, **TOLD), tmp_path / "bundle")
    assert manifest.stage("classifier").data == ["classifier.onnx.data"]
    np.testing.assert_allclose(
        answers(tmp_path / "bundle", waves(2, 4000)), by_hand(waves(2, 4000)) + big.mean(), atol=1e-4
    )
    for damaged in (content[: 1 << 20], b"\x0f" + content, b"\xff" * (1 << 20)):
        path.write_bytes(damaged)
        refuses(SourceError, r"net\.onnx: is not an ONNX graph", load, path, **TOLD)


@pytest.mark.slow
@pytest.mark.parametrize("inside", [False, True])
def test_large_weights_are_in_memory_once(tmp_path, inside):
    """Those of the file and those of the bundle are never looked at together, nor copied in memory."""
    size = 8704 if inside else 12032
    data, path = tmp_path / "net.onnx.data", tmp_path / "net.onnx"
    random = np.random.default_rng(0)
    with data.open("wb") as file:
        for _ in range(16):
            file.write(random.standard_normal((size // 16, size), np.float32).tobytes())
    big = TensorProto(name="big", dims=[size, size], data_type=TensorProto.FLOAT)
    if inside:
        big.raw_data = data.read_bytes()
        data.unlink()
    else:
        big.data_location = TensorProto.EXTERNAL
        big.external_data.add(key="location", value=data.name)
    constants = {
        "kernel": random.standard_normal((size, 1, 100)).astype(np.float32) / 10,
        "rows": random.standard_normal((size, 3)).astype(np.float32) / 100,
        "axis": np.array([1]),
    }
    nodes = [
        node("Unsqueeze", "x axis", "row"),
        node("Conv", "row kernel", "c", strides=[100]),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "f"),
        node("MatMul", "f big", "m"),
        node("MatMul", "m rows", "y"),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 3])],
        [big, *(numpy_helper.from_array(array, name) for name, array in constants.items())],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    program = """
        import resource, sys, earmark.cli
        peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        import onnx, onnxruntime, faiss
        before = peak()
        try:
            earmark.cli.main(sys.argv[1:])
        except SystemExit as end:
            assert not end.code
        print('grown', peak() - before)
    """
    words = "export net.onnx -o b --labels a,b,c --sample-rate 8000"
    said = run_python(program, *words.split(), cwd=tmp_path)
    assert int(said.split("grown")[1]) < 1.3 * 4 * size * size
