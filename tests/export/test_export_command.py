"""`earmark export` of a factory in the working folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from earmark.commands.export import export
from earmark.errors import BundleError, SourceError

FACTORY = """\
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("tiny_conftest", {conftest!r})
module = module_from_spec(spec)
spec.loader.exec_module(module)


def adapter():
    return module.tiny_adapter({seed})


def nothing():
    return 7
"""


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    conftest = str(Path(__file__).parents[1] / "conftest.py")
    (tmp_path / "tiny_factory.py").write_text(FACTORY.format(conftest=conftest, seed=3))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("tiny_factory", None)


def test_a_negative_seed_is_wrong_usage(in_folder):
    run = CliRunner().invoke(export, ["tiny_factory:adapter", "-o", "out", "--seed", "-1"])
    assert run.exit_code == 2
    assert "--seed" in run.output


def test_command(in_folder):
    # A factory may import its neighbours when it is called.
    (in_folder / "late_factory.py").write_text(
        "def adapter():\n    from tiny_factory import adapter\n    return adapter()\n"
    )
    run = CliRunner().invoke(export, ["late_factory:adapter", "-o", "out", "--no-decoder", "--window", "0.5"])
    sys.modules.pop("late_factory", None)
    assert run.exit_code == 0, run.output
    assert str(in_folder) not in sys.path
    assert "tiny" in run.stdout
    assert "logits" in run.stdout
    manifest = json.loads((in_folder / "out/bundle.json").read_text())
    assert manifest["window"]["seconds"] == 0.5
    assert manifest["explainers"] == []
    assert not (in_folder / "out/decoder.onnx").exists()
    again = CliRunner().invoke(export, ["tiny_factory:adapter", "-o", "out"])
    assert isinstance(again.exception, BundleError)
    wrong = CliRunner().invoke(export, ["tiny_factory:nothing", "-o", "other"])
    assert isinstance(wrong.exception, SourceError)
    assert CliRunner().invoke(export, ["tiny_factory:adapter"]).exit_code == 2
