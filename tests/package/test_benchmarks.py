"""Benchmarks and examples take hours: that the names they import are there is known without running them."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def names_in(module: str) -> set[str]:
    """What a module of the package defines or imports."""
    place = ROOT.joinpath(*module.split(".")[1:])
    names = {path.stem for path in place.glob("*")}
    file = place.with_suffix(".py")
    tree = ast.parse((file if file.is_file() else place / "__init__.py").read_text("utf-8"))
    for one in ast.walk(tree):
        if isinstance(one, ast.FunctionDef | ast.ClassDef):
            names.add(one.name)
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            names.add(one.id)
        elif isinstance(one, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in one.names)
    return names


def test_what_benchmarks_and_examples_import_is_there():
    missing = [
        f"{path.relative_to(ROOT)}: {one.module}.{alias.name}"
        for folder in ("benchmarks", "examples")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for one in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(one, ast.ImportFrom) and (one.module or "").split(".")[0] == "earmark"
        for alias in one.names
        if alias.name not in names_in(one.module)
    ]
    assert missing == []
