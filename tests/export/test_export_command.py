"""`earmark export` of a factory in the working folder."""

import json
import sys

import pytest
from command_line import invoke


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    (tmp_path / "tiny_factory.py").write_text(
        "from tiny_model import tiny_adapter\nadapter, nothing = lambda: tiny_adapter(3), lambda: 7\n"
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("tiny_factory", None)


def test_command(in_folder):
    # A factory may import its neighbours when it is called.
    (in_folder / "late_factory.py").write_text(
        "def adapter():\n    from tiny_factory import adapter\n    return adapter()\n"
    )
    run = invoke("export", "late_factory:adapter", "-o", "out", "--no-decoder", "--window", 0.5, code=0)
    sys.modules.pop("late_factory", None)
    assert str(in_folder) not in sys.path
    assert "tiny" in run.stdout
    assert "logits" in run.stdout
    manifest = json.loads((in_folder / "out/bundle.json").read_text())
    assert manifest["window"]["seconds"] == 0.5
    assert manifest["explainers"] == []
    assert not (in_folder / "out/decoder.onnx").exists()
    invoke("export", "tiny_factory:adapter", "-o", "out", code=1, says="--force")
    invoke("export", "tiny_factory:nothing", "-o", "other", code=1, says="Adapter")
    invoke("export", "tiny_factory:adapter", code=2, says="-o")
    invoke("export", "tiny_factory:adapter", "-o", "out", "--seed", -1, code=2, says="--seed")
