"""docs/frontends.md lists every field of a front end's description, as the struct has it, and every preset.

`python tests/export/test_frontend_docs.py` writes the list anew.
"""

import re
import tomllib
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec

from earmark.export.frontends.description import PARTS, described
from earmark.export.frontends.hugging_face import EXTRACTORS
from earmark.export.frontends.presets import PRESETS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "frontends.md"
START, END = "## Which fields are there?\n", "## "


def values_of(hint):
    """What a field may be, in words."""
    if get_origin(hint) is Literal:
        return ", ".join(
            f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in get_args(hint)
        )
    if get_args(hint):
        kinds = [values_of(one) for one in get_args(hint) if one is not type(None)]
        return "list of numbers" if get_origin(hint) is list else ", ".join(kinds)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"table `[{hint.__name__.lower()}]`"
    return {bool: "true, false", int: "whole number", float: "number", str: "text"}[hint]


def default_of(field):
    if field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
        return "required"
    if field.default is None or isinstance(field.default, msgspec.Struct):
        return "left out"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def tables():
    """The section of the page that lists the fields."""
    lines = []
    for part, form in PARTS:
        hints = get_type_hints(form, include_extras=True)
        lines += [
            f"### {f'`[{part}]`' if part else 'At the top'}",
            "",
            form.__doc__.strip().splitlines()[0],
            "",
        ]
        lines += ["| field | values | by default | what |", "| --- | --- | --- | --- |"]
        for field in msgspec.structs.fields(form):
            kind, meta = get_args(hints[field.name])
            text = meta.description.replace("|", "\\|")
            lines.append(f"| `{field.name}` | {values_of(kind)} | {default_of(field)} | {text} |")
        lines.append("")
    return "\n".join(lines)


def parts_of(text):
    """The page before, within and after the list."""
    before, rest = text.split(START, 1)
    at = re.search(r"^## ", rest, re.MULTILINE).start()
    return before + START, rest[:at], rest[at:]


def test_every_field_is_documented_as_it_is():
    _, found, _ = parts_of(PAGE.read_text(encoding="utf-8"))
    assert found.strip() == tables().strip()


def test_every_preset_and_extractor_is_named():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in (*PRESETS, *EXTRACTORS) if f"`{name}`" not in text] == []


def test_the_description_on_the_page_is_one():
    (block,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert described(tomllib.loads(block), "the page").bins == 64


if __name__ == "__main__":
    first, _, last = parts_of(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(f"{first}\n{tables()}\n{last}", encoding="utf-8")
