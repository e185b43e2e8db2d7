"""What the wheel holds, what an import costs, and what README and CI promise."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import earmark

ROOT = Path(__file__).resolve().parents[2]
NOT_SHIPPED = {"tests", "benchmarks", "examples", "docs", "setup.py"}
# What building and testing leave behind, and what setuptools adds to an sdist.
GENERATED = {"PKG-INFO", "setup.cfg", "earmark.egg-info", "build", "dist", "__pycache__", ".git"}
GENERATED |= {".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}
# A writer's lock and a hidden file, byte code, old builds, a training's run: none of it must travel.
_BUNDLE = "runtime/shipped/bundle"
LITTER = [f"{_BUNDLE}/.writing.lock", f"{_BUNDLE}/bundle.json.lock", f"{_BUNDLE}/.hidden/file"]
LITTER += ["tests/__pycache__/x.cpython-311.pyc", "cli.pyc", "build/lib/earmark/old.py", "runs/x/config.json"]
LITTER += ["dist/earmark-0.0.1.tar.gz", ".pytest_cache/v/cache/lastfailed", ".venv/lib/module.py"]
HEAVY = ("torch", "matplotlib", "sklearn", "pandas", "librosa", "tqdm", "yaml", "earmark.export")


def repository_files() -> set[str]:
    """What belongs to the project: what git says, or in an unpacked sdist what is there."""
    listing = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        done = subprocess.run(listing, check=True, cwd=ROOT, capture_output=True, text=True)
        return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}
    found = {path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()}
    return {path.as_posix() for path in found if not GENERATED & set(path.parts) and path.suffix != ".pyc"}


def package_files() -> set[str]:
    """Every module of the checkout, as the wheel should name it."""
    names = {name for name in repository_files() if name.endswith(".py")}
    return {f"earmark/{name}" for name in names if Path(name).parts[0] not in NOT_SHIPPED}


def demo_files() -> set[str]:
    return {f"earmark/{name}" for name in repository_files() if name.startswith("runtime/shipped/")}


def font_files() -> set[str]:
    """The font of the pictures and its licence."""
    return {f"earmark/{name}" for name in repository_files() if name.startswith("runtime/drawing/fonts/")}


def page_files() -> set[str]:
    """Templates, scripts and styles of the pages."""
    folders = ("runtime/report/page/", "integrations/server/page/", "export/web/page/")
    return {f"earmark/{name}" for name in repository_files() if name.startswith(folders)}


@dataclass(frozen=True)
class Distributions:
    """The unpacked sdist, and the wheel that was built from it."""

    source: Path
    wheel: zipfile.ZipFile


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Distributions:
    """Both, as `pip` asks for them, of a copy with the litter that a checkout gathers."""
    folder = tmp_path_factory.mktemp("build")
    copy = folder / "any name"
    for name in repository_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    for name in LITTER:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("litter")
    run_hook("build_sdist", copy, folder)
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    run_hook("build_wheel", source, folder)
    (wheel,) = folder.glob("*.whl")
    return Distributions(source, zipfile.ZipFile(wheel))


def run_hook(name: str, source: Path, folder: Path) -> None:
    """A hook of the build backend (PEP 517), in a process of its own, into `folder`."""
    code = f"from setuptools import build_meta; build_meta.{name}({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(built) -> zipfile.ZipFile:
    return built.wheel


def test_sdist_is_the_repository(built):
    """Tests with their helpers and constraints, docs, benchmarks, CI: README holds there too."""
    found = {path.relative_to(built.source) for path in built.source.rglob("*") if path.is_file()}
    names = {path.as_posix() for path in found if not GENERATED & set(path.parts)}
    assert names == repository_files()
    assert os.access(built.source / ".ci" / "run", os.X_OK)


@pytest.mark.slow
def test_the_sdists_own_tests_run(built):
    """In the unpacked sdist: all are collected, and those that use every helper pass."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    for more in (
        ["--collect-only"],
        ["tests/commands/test_cli.py", "tests/package/test_packaging.py", "-k", "not sdist"],
    ):
        done = subprocess.run(
            [*command, *more], check=False, cwd=built.source, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_wheel_holds_every_room_and_the_demo_and_nothing_else(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    others = {"earmark/py.typed", "earmark/runtime/schema-1.json"}
    assert names == package_files() | demo_files() | font_files() | page_files() | others
    assert {"earmark/runtime/drawing/fonts/DejaVuSans.ttf", "earmark/runtime/drawing/fonts/LICENSE"} <= names
    assert {"earmark/runtime/shipped/bundle/bundle.json", "earmark/cli.py"} <= names


def test_wheel_is_small(wheel):
    assert sum(item.compress_size for item in wheel.infolist()) < 9e6


def test_wheel_metadata(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    metadata = wheel.read(name).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert all(f"Provides-Extra: {extra}" in metadata for extra in ("cpu", "gpu", "export", "test"))
    # No build of onnxruntime in the base: the CPU and the GPU build overwrite each other.
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert not [line for line in required if "onnxruntime" in line and "extra ==" not in line]
    assert not [line for line in required if "torch" in line and "extra ==" not in line]


def test_one_version(wheel):
    """`earmark.__version__` is the version; the wheel and the citation follow it."""
    metadata = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    assert f"\nVersion: {earmark.__version__}\n" in wheel.read(metadata).decode()
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [earmark.__version__]


def test_long_description_is_the_readme_without_dead_links(wheel):
    """An index page and installed metadata hold nothing beside it."""
    metadata = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    text = wheel.read(metadata).decode()
    assert "Description-Content-Type: text/markdown" in text
    assert "\n# earmark\n\nearmark explains audio classifiers where they run" in text
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []
    assert text.rstrip().endswith((ROOT / "README.md").read_text(encoding="utf-8").rstrip()[-40:])


def modules_after(code: str, cwd: Path) -> set[str]:
    """The names in sys.modules of a fresh interpreter after `code`."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    environment = {
        name: value for name, value in os.environ.items() if name not in {"EARMARK_BUNDLE", "PYTHONPATH"}
    }
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, cwd=cwd, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads(done.stderr.strip().splitlines()[-1]))


def heavy(modules: set[str]) -> list[str]:
    return sorted(
        name for name in modules if name.startswith(tuple(f"{root}." for root in HEAVY)) or name in HEAVY
    )


def test_import_costs_next_to_nothing(tmp_path):
    modules = modules_after("import earmark", tmp_path)
    assert heavy(modules) == []
    assert not modules & {"numpy", "scipy", "onnxruntime", "faiss", "onnx", "soundfile", "click"}


def run_command(*arguments: str) -> str:
    """Code that runs the command line in the process."""
    return (
        "from earmark.cli import main\n"
        f"try:\n    main({list(arguments)!r})\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("explain", "--help"),
        ("train", "--help"),
        ("export", "--help"),
        ("index", "--help"),
        ("inspect",),
        ("verify",),
        ("doctor",),
        ("explain",),
        ("explain", "-o", "out", "--json"),
    ],
    ids=" ".join,
)
def test_commands_leave_the_training_side_alone(arguments, tmp_path):
    modules = modules_after(run_command(*arguments), tmp_path)
    # Building prototypes is the export's work, though it needs no torch.
    assert heavy(modules) == []


def test_help_loads_no_numbers(tmp_path):
    modules = modules_after(run_command("--help"), tmp_path)
    assert not modules & {"numpy", "scipy", "onnxruntime", "faiss", "onnx", "soundfile"}


def test_api_leaves_the_training_side_alone(tmp_path):
    code = f"""
import earmark
explainer = earmark.load()
explainer.warm_up()
result = explainer.explain({str(ROOT / "runtime" / "shipped" / "example.flac")!r}, rescore=True)
result.save("out")
next(nearest for nearest in result.prototypes["time"]).audio()
list(explainer.explain_many([{str(ROOT / "runtime" / "shipped" / "example.flac")!r}], batch_size=2))
"""
    assert heavy(modules_after(code, tmp_path)) == []
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "mask.png",
        "kept.wav",
        "removed.wav",
        "result.json",
    }


def test_every_import_inside_the_package_is_relative():
    wrong = [
        path.relative_to(ROOT)
        for path in (ROOT / name.removeprefix("earmark/") for name in package_files())
        if re.search(r"^\s*(from|import) earmark\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert wrong == []


def test_readme_starts_with_the_two_commands():
    """`.ci/run` takes its two commands from here; they install and explain, install and test."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[:2]
    assert re.fullmatch(r"pip install \S+ && earmark explain\n", first)
    assert re.fullmatch(r"pip install .*\S+ && pytest\n", second)


def test_extras_named_in_the_readme_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    named = {
        name for group in re.findall(r"(?:\.|earmark)\[([a-z,]+)\]", readme) for name in group.split(",")
    }
    assert named
    assert named <= set(extras)
