"""README and docs say what is there: links, commands, options, files, Python, and tables in their columns."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from command_line import all_commands, options_of

import earmark
from earmark.cli import main
from earmark.evaluation.faithfulness.metrics import METRICS
from earmark.evaluation.synthesis.clips import clip_of
from earmark.runtime.explainer import SHIPPED

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY", "examples/README")
PAGES = [*(ROOT / f"{name}.md" for name in NAMES), *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = ROOT / "runtime" / "shipped" / "example.flac"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
# Stands before a block of commands that slow tests run, or none, with the reason.
MARK = re.compile(r"^<!-- (slow|not run): .+ -->\n(?=```sh\n)", re.MULTILINE)
# Installing is what `.ci/run` does; benchmarks take hours, so their options are checked and no more.
NOT_RUN = re.compile(r"pip install|python -m venv|python benchmarks/|taskset .* benchmarks/|ruff|pytest")
# Labels that the pages name, as those of the bundle at hand; trainings as short as they can be.
LABELS = {"dog": "snare", "rain": "tom"}
SHORT = """
earmark() {
    case "$1 $2" in
        "train classifier") set -- "$@" --threads 1 --epochs 1 --width 4 ;;
        "train apex") set -- "$@" --threads 1 --rounds 2 --polish 0 ;;
        "train "*) set -- "$@" --threads 1 --epochs 1 ;;
        "evaluate masks") set -- evaluate masks --fold 4 "${@:3}" ;;
        "evaluate events") set -- "$@" --limit 2 ;;
        "data field") set -- "$@" --minutes 0.5 --tune-clips 1 --test-clips 1 ;;
        "data "*) set -- "$@" --clips 5 --tune-clips 1 --test-clips 3 ;;
    esac
    command earmark "$@"
}
"""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The page without its code blocks, and the marks that say how they are run."""
    text = MARK.sub("", page.read_text(encoding="utf-8"))
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def in_code_font(page: Path) -> list[str]:
    """What stands between backticks in the running text."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def commands_named(page: Path) -> list[list[str]]:
    """The words of each `earmark ...` and `python ...`, in blocks and in the running text."""
    text = [line for _, block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    lines = [line.split(" #")[0] for line in [*text, *in_code_font(page)]]
    parts = [part.strip() for line in lines for part in re.split(r"&&|;|\bdo\b", line)]
    return [part.split() for part in parts if re.match(r"(earmark|python) ", part)]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The (sub-)command that the words name, and the words behind it."""
    command: click.Command = main
    for position, word in enumerate(words[1:], start=1):
        if not isinstance(command, click.Group) or not re.match(r"[a-z]", word):
            return command, words[position:]
        found = command.get_command(click.Context(command), word)
        assert found is not None, f"{' '.join(words)}: there is no {word!r}"
        command = found
    return command, []


def script_options(script: Path) -> set[str]:
    # A script in a folder of its own may have its options from a neighbour.
    scripts = script.parent.glob("*.py") if script.parent.name == "fuzz" else [script]
    known: set[str] = set()
    for text in (one.read_text(encoding="utf-8") for one in scripts):
        known.update(re.findall(r"\"(--?[a-z][\w-]*)\"", text))
        if "measuring import" in text:
            # As `benchmarks/measuring.py` reads them: of functions, and of a dataclass.
            for one in ast.parse(text).body:
                names = [each.arg for each in one.args.kwonlyargs] if isinstance(one, ast.FunctionDef) else []
                if isinstance(one, ast.ClassDef) and one.name.endswith("Settings"):
                    names = [each.target.id for each in one.body if isinstance(each, ast.AnnAssign)]
                known.update(f"--{name.rstrip('_').replace('_', '-')}" for name in names)
    return known


@pages
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link.split("#")[0]).exists()] == []


@pages
def test_commands_and_their_options_exist(page):
    for words in commands_named(page):
        if words[0] == "earmark":
            command, rest = command_of(words)
            known = options_of(command)
        elif words[1] == "-m":
            known = script_options(Path(importlib.util.find_spec(words[2]).origin))
            rest = words[3:]
        else:
            known, rest = script_options(ROOT / words[1]), words[2:]
        unknown = set(OPTION.findall(" ".join(rest))) - known
        assert not unknown, f"{' '.join(words)}: {unknown}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem != "CHANGELOG"], ids=lambda page: page.name
)
def test_options_named_in_the_text_exist(page):
    """Of a command, a benchmark, or a module that is run by itself; the change log names what has gone."""
    scripts = [*(ROOT / "benchmarks").rglob("*.py"), ROOT / "export" / "demo.py"]
    known = set().union(*(options_of(one) for _, one in all_commands()), *map(script_options, scripts))
    named = {option for code in in_code_font(page) if code.startswith("-") for option in OPTION.findall(code)}
    assert named - known - {"-m"} == set()


@pages
def test_files_named_exist(page):
    """Sources, tests and pages in code font: the path from the root, or its end."""
    there = [f"/{path.relative_to(ROOT).as_posix()}" for path in ROOT.rglob("*.*")]
    named = [code for code in in_code_font(page) if re.fullmatch(r"[\w./-]*\w\.(py|md|toml)", code)]
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in there)] == []


def test_sources_name_modules_that_exist():
    """What docstrings, comments and messages call `x/y.py` or `y.py` is there, by its end."""
    sources = [
        path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ("build", "tests")
    ]
    sources = [path for path in sources if not path.relative_to(ROOT).parts[0].startswith(".")]
    there = [f"/{path.relative_to(ROOT).as_posix()}" for path in ROOT.rglob("*.py")]
    gone = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in sources
        for name in re.findall(r"`([\w/]+\.py)`", path.read_text(encoding="utf-8"))
        if not any(f"/earmark{one}".endswith(f"/{name}") for one in there)
    }
    # A user's own.
    assert gone - {("export/sources/adapter/adapter.py", "my_model.py")} == set()


@pages
def test_nothing_is_left_of_a_template(page):
    text = prose(page)
    assert re.findall(r"<!--.*?-->|\{\{.*?\}\}|\b(?:TODO|FIXME|TBD|XXX)\b", text) == []


@pages
def test_tables_hold_what_their_columns_say(page):
    """As many cells as columns, and what bears a metric's name lies in that metric's range."""
    ranges = {metric.name: (metric.low, metric.high) for metric in METRICS.values()}
    for table in re.findall(r"(?:^\|.*\|\n)+", prose(page), re.MULTILINE):
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
        header, _, *body = rows
        assert {len(row) for row in rows} == {len(header)}, table
        for row in body:
            for column, cell in zip(header, row, strict=True):
                number = re.match(r"\**([+-]?\d*\.?\d+)", cell)
                # With a sign it is a difference, with a word ("at least") an aim.
                if column in ranges and number and cell[0] not in "+-":
                    low, high = ranges[column]
                    assert low <= float(number[1]) <= high, f"{column}: {cell} in {' | '.join(row)}"


def with_python(page: Path) -> bool:
    return any(language == "python" for language, _ in blocks(page))


@pytest.mark.parametrize("page", [*filter(with_python, PAGES)], ids=lambda page: page.name)
def test_python_blocks_run(page, components_bundle, tmp_path, monkeypatch):
    """As they stand, but for labels and layers; at hand are a bundle, a clip, DATA, a function."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle").symlink_to(components_bundle)
    wave, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write("clip.wav", wave, rate)
    write_data(Path("DATA"), 2)
    explainer = earmark.load(components_bundle, device="cpu")
    names = {
        "earmark": earmark,
        "explainer": explainer,
        "result": explainer.explain("clip.wav"),
        "wave": wave,
        "waveform": wave,
        "sample_rate": rate,
        "paths": [EXAMPLE, Path("clip.wav")],
        "score_fn": lambda sounds: 1 / (1 + np.exp(-np.abs(sounds[:, 8000:12000]).max(axis=1))),
    }
    for language, block in blocks(page):
        if language == "python":
            code = (
                block.replace('"dog"', '"snare"').replace('"rain"', '"tom"').replace("range(2)", "range(1)")
            )
            exec(compile(code, page.name, "exec"), names)


def shell(page: Path, kind: str) -> str:
    """The commands of the page's blocks that are marked as `kind` ("" for none), in order."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^(?:<!-- ([\w ]+): [^\n]+ -->\n)?```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "".join(block for mark, block in found if mark == kind and not NOT_RUN.search(block))


def run_shell(script: str, folder: Path) -> None:
    """In `folder`, by the earmark beside this interpreter; the first failure is the end."""
    for name, label in LABELS.items():
        script = re.sub(rf"\b{name}\b", label, script)
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        cwd=folder,
        env=os.environ | {"PATH": paths, "EARMARK_BUNDLE": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def write_data(folder: Path, clips: int) -> None:
    """Class folders of synthesised drums in five folds, and when their events sound."""
    rows = ["clip,label,start_s,end_s"]
    for position, label in enumerate(("kick", "snare", "tom"), start=5):
        (folder / label).mkdir(parents=True)
        for index in range(clips):
            clip = clip_of(label, index, seed=7)
            path = folder / label / f"{1 + index % 5}-{10_000 * position + index}-A.flac"
            soundfile.write(path, clip.waveform, clip.sample_rate)
            rows += [f"{label}/{path.name},{label},{hit.onset_s},{hit.offset_s}" for hit in clip.events]
    (folder / "events.csv").write_text("\n".join(rows) + "\n")


def with_shell(kind: str) -> list[Path]:
    return [page for page in PAGES if shell(page, kind)]


@pytest.mark.parametrize("page", with_shell(""), ids=lambda page: page.name)
def test_shell_blocks_run(page, components_bundle, tmp_path):
    """What is not marked, on the shipped bundle with components."""
    for name in ("bundle", "BUNDLE"):
        shutil.copytree(components_bundle, tmp_path / name)
    shutil.copytree(SHIPPED, tmp_path / "OTHER_BUNDLE")
    write_data(tmp_path / "DATA", 5)
    write_data(tmp_path / "ESC", 5)
    soundfile.write(tmp_path / "clip.wav", *soundfile.read(EXAMPLE))
    run_shell(SHORT + shell(page, ""), tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with DATA, RUN, a classifier with its decoder, and BUNDLE, exported from it and indexed."""
    folder = tmp_path_factory.mktemp("trained")
    write_data(folder / "DATA", 5)
    soundfile.write(folder / "clip.wav", *soundfile.read(EXAMPLE))
    script = """
        earmark train classifier DATA -o RUN --window 2 --train-folds 1-3
        earmark train lmac RUN DATA
        earmark export RUN -o BUNDLE
        earmark index BUNDLE DATA
    """
    run_shell(SHORT + script, folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", with_shell("slow"), ids=lambda page: page.name)
def test_slow_shell_blocks_run(page, trained, tmp_path):
    """What trains, on a few drums, for an epoch; what a block makes itself is not there before."""
    script = shell(page, "slow")
    made = set(re.findall(r"-o (\w+)", script)) - (set() if "classifier DATA -o RUN" in script else {"RUN"})
    for path in trained.iterdir():
        if path.name not in made:
            (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    for name in ("COPY", "SOURCE"):
        shutil.copytree(trained / "RUN", tmp_path / name)
    run_shell(SHORT + script, tmp_path)
