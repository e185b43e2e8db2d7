"""Whatever cannot be written is named, with why and what to do, and nothing half-written stays.

A limit on file sizes stands for the full disk: it needs no rights, and strikes at any file.
"""

import os
import re
import shutil
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest
from file_limit import limited

from earmark.errors import EarmarkError, WriteError


def refused(call, path):
    """The call fails with one line that names `path`, the reason and a cure."""
    with pytest.raises(EarmarkError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{path}: "), message
    assert re.search(r"File too large.*; raise the limit on file sizes", message), message
    assert isinstance(caught.value, WriteError)
    assert caught.value.filename == str(path)
    assert "\n" not in message


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_export(tiny_source, tmp_path):
    from earmark.export.bundle.write import write_bundle

    with limited(1000), pytest.raises(WriteError, match="File too large") as caught:
        write_bundle(tiny_source, tmp_path / "b")
    assert Path(caught.value.filename).parent == tmp_path / "b"
    assert names(tmp_path) == []


def test_data(tmp_path):
    from earmark.evaluation.synthesis.clips import write_folder

    named = pytest.raises(WriteError, match=r"-A\.flac: cannot be written \(File too large\)")
    with limited(5000), named:
        write_folder(tmp_path / "set", 0, 1)


def test_a_set_is_whole_or_not_there(tmp_path):
    from command_line import invoke

    with limited(5000):
        for out in (tmp_path / "new", tmp_path / "empty"):
            if out.name == "empty":
                out.mkdir()
            done = invoke("data", "drums", out, "--clips", "2", code=1)
            assert re.search(rf"{out}/.*\.flac: cannot be written \(File too large\); ", done.stderr), (
                done.stderr
            )
    assert names(tmp_path) == ["empty"]
    assert names(tmp_path / "empty") == []


def test_records_and_curves(tmp_path):
    from earmark.commands.evaluate.masks import write_curves
    from earmark.commands.evaluate.options import write_lines

    records, curves = tmp_path / "records.jsonl", tmp_path / "curves.json"
    records.write_text("of before\n")
    with limited(100):
        refused(lambda: write_lines(records, [{"clip": "a" * 200}]), records)
        refused(lambda: write_curves(curves, [{"method": "a" * 200}]), curves)
    assert records.read_text() == "of before\n"
    assert names(tmp_path) == ["records.jsonl"]


def test_records_to_a_device(capfd):
    from earmark.commands.evaluate.options import write_lines

    write_lines(Path("/dev/stdout"), [{"clip": "caf\udce9"}])
    assert capfd.readouterr().out == '{"clip": "caf\\udce9"}\n'


def test_a_run(tmp_path):
    import torch

    from earmark.export.sources.run.config import Config
    from earmark.export.sources.run.directory import RunDirectory

    run = RunDirectory(tmp_path, "classifier")
    run.write_config(Config())
    with limited(1000):
        refused(lambda: run.write_weights({"w": torch.zeros(1000)}), run.weights_path)
        refused(lambda: run.write_state({"w": torch.zeros(1000)}, {}), run.resume_path)
        refused(lambda: run.write_metrics([{"epoch": 1, "x": "y" * 2000}]), run.metrics_path)
    assert names(tmp_path) == ["config.json"]


def test_external_weights_follow_the_umask(tmp_path):
    from earmark.export.graphs.files import save_graph

    weight = onnx.numpy_helper.from_array(np.ones((600, 600), np.float32), "w")
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [600, 600]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", sides[:1], sides[1:], [weight]))
    before = os.umask(0o027)
    try:
        assert save_graph(model, tmp_path / "g.onnx") == ["g.onnx.data"]
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_every_file_of_a_bundle_follows_the_umask(tiny_bundle, tmp_path):
    from prototype_generations import write_sounds

    from earmark.export.prototypes.build import index_bundle

    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    index_bundle(bundle, write_sounds(tmp_path / "sounds", takes=1), audio=True)
    (tmp_path / "plain").touch()
    (tmp_path / "folder").mkdir()
    file, folder = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "folder"))
    for path in bundle.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (folder if path.is_dir() else file), path
