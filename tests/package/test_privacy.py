"""What earmark leaves behind: nothing of onnxruntime's telemetry, nothing but its own cache."""

import ast
from pathlib import Path

import pytest
import soundfile
from runtime_sounds import RATE, noise, run_python
from saved_graph import node, saved

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path):
    """A home folder that is empty, and an environment in which nobody has spoken of telemetry."""
    home = tmp_path / "home"
    home.mkdir()
    return home


def left_in(home: Path) -> set[str]:
    """The files below `home`, but for earmark's own record of bundles examined."""
    found = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(".cache/earmark/")}


def run(code: str, *arguments: object, home: Path, **env: str) -> str:
    given = {"HOME": str(home), "XDG_CACHE_HOME": "", "ORT_DISABLE_TELEMETRY": "", **env}
    # An empty variable would count as the user's own word.
    unset = "import os\nif not os.environ['ORT_DISABLE_TELEMETRY']: del os.environ['ORT_DISABLE_TELEMETRY']\n"
    return run_python(unset + code, *arguments, env=given)


def waveform_model(path: Path) -> Path:
    """A graph [B, N] -> logits [B, 2]."""
    nodes = [
        node("ReduceMean", "wave", "mean", axes=[1], keepdims=1),
        node("MatMul", "mean weights", "scores"),
    ]
    weights = {"weights": noise(0.1, rate=20).reshape(1, 2)}
    return saved(path, nodes, weights, {"wave": ["batch", "samples"]}, {"scores": ["batch", 2]})


def test_no_command_leaves_telemetry_behind(home, tmp_path):
    (tmp_path / "data" / "kick").mkdir(parents=True)
    soundfile.write(tmp_path / "data" / "kick" / "a.wav", noise(), RATE)
    out = run(
        """
import shutil, sys
from pathlib import Path
from earmark.cli import main
from earmark.runtime.explainer import SHIPPED

folder = Path(sys.argv[1])
shutil.copytree(SHIPPED, folder / "bundle")
for arguments in (
    ["explain"],
    ["verify"],
    ["doctor"],
    ["index", folder / "bundle", folder / "data"],
    ["export", sys.argv[2], "-o", folder / "made", *"--labels a,b --sample-rate 9000 --window 1".split()],
):
    main([str(one) for one in arguments], standalone_mode=False)
assert "onnxruntime" in sys.modules
""",
        tmp_path,
        waveform_model(tmp_path / "model.onnx"),
        home=home,
    )
    assert "telemetry" in out
    assert "is off" in out
    assert left_in(home) == set()


# What a program does first, and what a child of it does.
CHILDREN = {
    "explainer": ("found = earmark.load()", "found.explain, (([0.1] * 16000, 16000),), {'methods': []}"),
    "onnxruntime of the embedding program": (
        "import onnxruntime; onnxruntime.get_available_providers()",
        "exec, ('import earmark, onnxruntime; onnxruntime.SessionOptions()',)",
    ),
}


@pytest.mark.parametrize(("first", "then"), CHILDREN.values(), ids=CHILDREN)
def test_no_spawned_child_leaves_telemetry_behind(home, first, then):
    run(
        f"""
import multiprocessing

if __name__ == "__main__":
    import earmark
    {first}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply({then})
""",
        home=home,
    )
    assert left_in(home) == set()


def test_the_users_own_word_stays(home):
    out = run(
        """
import os
import earmark
earmark.load(device="cpu").explain(([0.1] * 16000, 16000), methods=[])
print(os.environ["ORT_DISABLE_TELEMETRY"])
""",
        home=home,
        ORT_DISABLE_TELEMETRY="true",
    )
    assert out.strip() == "true"


def test_onnxruntime_is_imported_in_one_place():
    """Whoever imports it elsewhere may be the first, and telemetry would be on."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.split("/")[0] in {"tests", "benchmarks", "build", "docs"} or name.startswith("."):
            continue
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in one.names] if isinstance(one, ast.Import) else []
            names += [one.module or ""] if isinstance(one, ast.ImportFrom) and not one.level else []
            if any(module.split(".")[0] == "onnxruntime" for module in names):
                found.append(name)
    assert found == []
