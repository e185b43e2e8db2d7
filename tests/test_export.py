"""The export of small models, looked at from outside: files, manifest, numbers."""

from __future__ import annotations

import json


def test_tiny_bundle(tiny_bundle):
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    print(json.dumps(manifest, indent=1))
