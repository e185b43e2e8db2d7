"""Records are what the published JSON Schema says, and docs/results_format.md lists its fields.

`python tests/runtime/test_json_schema.py` writes the list and both copies of the schema anew.
"""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from command_line import documents, invoke
from runtime_sounds import RATE, tone

import earmark
from earmark.runtime.json_schema import SCHEMA, json_schema, schema_text

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "results_format.md"
START, END = "## Which fields are there?\n", "## Where do sounds"


def kind_of(form):
    """A type of the schema in words."""
    if "$ref" in form:
        name = form["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in form:
        return ", ".join(kind_of(one) for one in form["anyOf"])
    if "enum" in form:
        return ", ".join("null" if one is None else f"`{one}`" for one in form["enum"])
    if form.get("type") == "array":
        count = f"{form['minItems']} " if form.get("minItems") else ""
        return f"list of {count}{kind_of(form['items'])}"
    if form.get("type") == "object" and isinstance(form.get("additionalProperties"), dict):
        return f"object of {kind_of(form['additionalProperties'])}"
    return form.get("type", "anything")


def tables():
    """The section of the page that lists the fields."""
    lines = []
    for name, form in json_schema()["$defs"].items():
        lines += [f"### {name}", "", form["description"].splitlines()[0], ""]
        lines += ["| field | type | what |", "| --- | --- | --- |"]
        for field, one in form["properties"].items():
            optional = "" if field in form["required"] else " (may be missing)"
            text = one.get("description", "").replace("|", "\\|")
            lines.append(f"| `{field}` | {kind_of(one)}{optional} | {text} |")
        lines.append("")
    return "\n".join(lines)


def parts_of(text):
    before, rest = text.split(START, 1)
    at = rest.index(END)
    return before + START, rest[:at], rest[at:]


@pytest.fixture(scope="module")
def validate():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)

    def valid(record, kind):
        """Against what is of that kind, whose errors say more than those of either."""
        text = json.dumps(record, allow_nan=False)
        assert record["kind"] == kind
        whole = {**schema, "anyOf": [{"$ref": f"#/$defs/{kind.capitalize()}"}]}
        jsonschema.Draft202012Validator(whole).validate(json.loads(text))

    return valid


def test_the_published_schema_is_that_of_the_types():
    """`python tests/runtime/test_json_schema.py` writes it."""
    assert SCHEMA.read_text(encoding="utf-8") == schema_text()
    assert (DOCS / SCHEMA.name).read_text(encoding="utf-8") == schema_text()


def test_every_field_is_documented_as_it_is():
    _, found, _ = parts_of(PAGE.read_text(encoding="utf-8"))
    assert found.strip() == tables().strip()
    fields = [one for form in json_schema()["$defs"].values() for one in form["properties"].values()]
    assert all(one.get("description") for one in fields)


def test_a_result_of_every_method(components_bundle, validate):
    with earmark.load(components_bundle, "cpu") as explainer:
        result = explainer.explain(
            tone(),
            RATE,
            methods=["mask", "components", "prototypes", "segments"],
            rescore=True,
            options={"segments": {"calls": 40, "windows": (1, 3)}},
            hop_s=0.5,
            timeout_s=600,
        )
        bare = explainer.explain(tone(), RATE, methods=[])
    validate(result.to_dict(windows=True), "result")
    validate(bare.to_dict(None), "result")
    record = result.to_dict()
    assert (record["schema_version"], record["earmark"]) == (1, earmark.__version__)
    assert record["settings"]["hop_s"] == 0.5
    assert record["settings"]["methods"]["segments"]["windows"] == [1, 3]
    assert record["settings"]["methods"]["mask"] == {}
    assert len(record["segments"]["rows"]) == len(result.segments)
    # A field that is missing or of another type is seen.
    for broken in ({**record, "seed": "0"}, {name: one for name, one in record.items() if name != "device"}):
        with pytest.raises(jsonschema.ValidationError):
            validate(broken, "result")


def test_failures_have_the_same_fields(explainer, validate):
    good, bad = explainer.explain_many(
        [(tone(), RATE), (np.zeros(0, np.float32), RATE)],
        methods=["mask"],
        seed=4,
        target=explainer.labels[1],
    )
    record = bad.to_dict()
    validate(record, "result")
    assert record.keys() == good.to_dict().keys()
    assert record["error"]["type"] == "AudioError"
    assert good.to_dict()["error"] is None
    for name in ("bundle", "bundle_id", "device", "seed", "settings", "schema_version", "earmark"):
        assert record[name] == good.to_dict()[name], name
    assert record["settings"]["targets"] == [explainer.labels[1]]
    validate(earmark.Failure("x.wav", earmark.AudioError("gone")).to_dict(), "result")


def test_detections(validate):
    explainer = earmark.load(device="cpu")
    found = explainer.detect(
        tone(),
        RATE,
        min_score={explainer.labels[0]: np.float32(0.125), "*": 0.2},
        top_per_window=np.int64(5),
        methods=["mask", "segments"],
        options={"segments": {"calls": 20}},
    )
    assert len(found) > 0
    record = found.to_dict()
    validate(record, "detections")
    settings = record["settings"]
    assert settings["min_score"] == {explainer.labels[0]: 0.125, "*": 0.2}
    assert (settings["methods"], settings["options"]["segments"]["calls"]) == (["mask", "segments"], 20)
    assert type(found.settings).from_dict(settings) == found.settings
    with pytest.raises(jsonschema.ValidationError, match="'more': 1"):
        validate({**record, "settings": {**settings, "more": 1}}, "detections")
    assert record["detections"][0]["explanation"]["kind"] == "result"


@pytest.mark.parametrize("command", ["explain", "detect"])
def test_lines_of_the_commands(command, tiny_bundle, tmp_path, validate):
    soundfile.write(tmp_path / "good.wav", tone(), RATE)
    (tmp_path / "bad.wav").write_text("no sound")
    records = documents(invoke(command, tmp_path, "-b", tiny_bundle, "--jsonl", "--seed", 3, code=1))
    assert sorted(one["error"] is None for one in records) == [False, True]
    for record in records:
        validate(record, "result" if command == "explain" else "detections")
    bad, good = sorted(records, key=lambda one: one["error"] is None)
    assert bad.keys() == good.keys()
    assert (bad["bundle_id"], bad["seed"], bad["device"]) == (good["bundle_id"], 3, good["device"])
    assert bad["settings"] == good["settings"]


if __name__ == "__main__":
    first, _, last = parts_of(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(f"{first}\n{tables()}\n{last}", encoding="utf-8")
    for path in (SCHEMA, DOCS / SCHEMA.name):
        path.write_text(schema_text(), encoding="utf-8")
