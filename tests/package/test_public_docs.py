"""What is public is documented for those who call it, and its signatures change only on purpose."""

import dataclasses
import doctest
import inspect
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import earmark
import earmark.export

FUNCTIONS = {
    "earmark.load",
    "earmark.segments",
    "earmark.Explainer.explain",
    "earmark.Explainer.explain_many",
    "earmark.export.export_bundle",
    "earmark.export.index_bundle",
}
SIGNATURES = Path(__file__).with_name("public_signatures.txt")


def public() -> Iterator[tuple[str, Any]]:
    """Every public name and every public method and property, by its dotted path."""
    for module in (earmark, earmark.export):
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value):
                continue
            yield f"{module.__name__}.{name}", value
            if inspect.isclass(value) and not issubclass(value, BaseException):
                for member, found in vars(value).items():
                    if not member.startswith("_") and (
                        isinstance(found, (property, classmethod, staticmethod)) or inspect.isfunction(found)
                    ):
                        yield f"{module.__name__}.{name}.{member}", found


def plain(value: Any) -> Any:
    """The function behind a method or a property."""
    value = getattr(value, "fget", value)
    return getattr(value, "__func__", value)


def parameters(value: Any) -> list[str]:
    """Names of what is given: parameters without `self`, or the fields of a record."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
    if hasattr(value, "__struct_fields__"):
        return list(value.__struct_fields__)
    names = list(inspect.signature(plain(value)).parameters)
    return [name for name in names if name not in {"self", "cls"}]


def documented(text: str) -> set[str]:
    """Names under Args and Attributes of a docstring."""
    found = re.findall(r"^(?:Args|Attributes):\n((?:(?:    .*)?\n)+)", text + "\n", re.MULTILINE)
    return {name for section in found for name in re.findall(r"^    \**(\w+): \S", section, re.MULTILINE)}


def sections(text: str) -> set[str]:
    return set(re.findall(r"^(Args|Attributes|Returns|Yields|Raises|Examples):$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def surface() -> dict[str, Any]:
    return dict(public())


def test_every_parameter_is_documented(surface):
    missing = {}
    for name, value in surface.items():
        text = inspect.getdoc(plain(value)) or ""
        assert text, f"{name} has no docstring"
        if isinstance(value, property) or (inspect.isclass(value) and issubclass(value, BaseException)):
            continue
        if absent := [one for one in parameters(value) if one not in documented(text)]:
            missing[name] = absent
    assert missing == {}


def test_what_is_returned_is_documented_and_functions_have_examples(surface):
    missing = {}
    for name, value in surface.items():
        if isinstance(value, property) or inspect.isclass(value):
            continue
        have = sections(inspect.getdoc(plain(value)) or "")
        need = set() if inspect.signature(plain(value)).return_annotation in {"None", None} else {"Returns"}
        if name in FUNCTIONS:
            need |= {"Examples"}
        if "Yields" in have:
            need -= {"Returns"}
        if absent := need - have:
            missing[name] = sorted(absent)
    assert missing == {}


def test_examples_are_right(surface, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EARMARK_BUNDLE", raising=False)
    names = {name: getattr(earmark.export, name) for name in earmark.export.__all__} | {"earmark": earmark}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for name, value in surface.items():
        if text := inspect.getdoc(plain(value)):
            runner.run(doctest.DocTestParser().get_doctest(text, dict(names), name, None, None))
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 10


def signature(value: Any) -> Iterator[str]:
    """One line for each parameter, in order, then what is returned."""
    if isinstance(value, property):
        yield f"-> {inspect.signature(value.fget).return_annotation}"
        return
    if inspect.isclass(value) and issubclass(value, BaseException):
        yield f"is {', '.join(base.__name__ for base in value.__bases__)}"
        return
    found = inspect.signature(value if inspect.isclass(value) else plain(value))
    for one in found.parameters.values():
        if one.name not in {"self", "cls"}:
            text = re.sub(r"(?:typing\.)?Annotated\[(\w+), .*\)\]", r"\1", str(one))
            yield f"{'keyword ' if one.kind is one.KEYWORD_ONLY else ''}{text}"
    if not inspect.isclass(value):
        yield f"-> {found.return_annotation}"


def test_signatures_change_on_purpose(surface):
    """After a change on purpose: say so in CHANGELOG.md, and copy the file that this test writes."""
    now = "".join(
        f"{name}\n" + "".join(f"    {line}\n" for line in signature(value))
        for name, value in sorted(surface.items())
    )
    if now != SIGNATURES.read_text(encoding="utf-8"):
        written = Path(tempfile.gettempdir()) / SIGNATURES.name
        written.write_text(now, encoding="utf-8")
        assert now.splitlines() == SIGNATURES.read_text(encoding="utf-8").splitlines(), f"see {written}"
