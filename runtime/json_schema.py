"""The published JSON Schema of what earmark writes, made of the types in `document` and of the methods.

`python -m earmark.runtime.json_schema FILE...` writes it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from .document import SCHEMA_VERSION, DetectionsDict, DetectSettingsDict, ExplainSettings, ResultDict
from .methods.loading import all_methods

# Lies beside this module, and in docs/.
SCHEMA = Path(__file__).with_name(f"schema-{SCHEMA_VERSION}.json")


def json_schema() -> dict[str, Any]:
    """Make the JSON Schema (draft 2020-12) of one record, with what the methods of the table add."""
    added = {method.name: method.fields_type() for method in all_methods()}
    types = [kind for kind in added.values() if kind is not None]
    (result, detections, explain, detect, *parts), named = msgspec.json.schema_components(
        [ResultDict, DetectionsDict, ExplainSettings, DetectSettingsDict, *types],
        ref_template="#/$defs/{name}",
    )
    definitions: dict[str, dict[str, Any]] = named
    for record, settings in ((result, explain), (detections, detect)):
        field = definitions[_name(record)]["properties"]["settings"]
        definitions[_name(record)]["properties"]["settings"] = {
            **settings,
            "description": field["description"],
        }
        definitions[_name(settings)]["additionalProperties"] = False
    shown = definitions[_name(result)]
    for part in parts:
        fields = definitions.pop(_name(part))
        shown["properties"] |= fields["properties"]
        shown["required"] = [*shown["required"], *fields["required"]]
    for kind, reference in (("result", result), ("detections", detections)):
        definitions[_name(reference)]["properties"]["kind"] |= {"enum": [kind]}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A record of earmark",
        "description": "What explain and detect write of one sound, whether it has an answer or not.",
        "anyOf": [result, detections],
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }
    # Names of types in Python are no names for readers of JSON.
    renamed: dict[str, Any] = json.loads(re.sub(r'(\w+)Dict"', r'\1"', json.dumps(whole)))
    return renamed


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _name(reference: dict[str, Any]) -> str:
    """The definition that a reference points at."""
    return str(reference["$ref"]).rpartition("/")[2]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(schema_text(), encoding="utf-8")
