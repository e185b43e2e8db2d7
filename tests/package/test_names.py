"""Names: a class name has one meaning, and tests speak to what is public."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Public all the same: of NamedTuples, the standard library and notebooks.
PUBLIC = {"_replace", "_asdict", "_fields", "_exit", "_repr_html_"}
# Of others, whose own ways with features are the reference.
OTHERS = {"_IS_TORCHAUDIO_EXT_AVAILABLE", "_IS_ALIGN_AVAILABLE", "_np_extract_fbank_features"}


def nodes(pattern):
    for path in sorted(ROOT.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            yield str(path.relative_to(ROOT)), node


def test_a_class_name_has_one_meaning():
    rooms = ("commands", "export", "evaluation", "integrations", "prototypes_index", "runtime", "benchmarks")
    defined = defaultdict(list)
    for pattern in ("*.py", *(f"{room}/**/*.py" for room in rooms)):
        for path, node in nodes(pattern):
            if isinstance(node, ast.ClassDef):
                defined[node.name].append(path)
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}


def test_no_test_reaches_for_a_private_name():
    reached = [
        f"{path}:{node.lineno}: {node.attr}"
        for path, node in nodes("tests/**/*.py")
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and node.attr not in PUBLIC | OTHERS
        and getattr(node.value, "id", "") != "self"
    ]
    assert reached == []
