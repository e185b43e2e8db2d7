"""Bundles that somebody changed: the manifest rewritten, hashes made true again, and what is said of them."""

from __future__ import annotations

import hashlib
import json

import pytest

import earmark
from earmark.runtime.opening import open_bundle


def document(bundle):
    """The manifest as JSON."""
    return json.loads((bundle / "bundle.json").read_text())


def rewrite(bundle, change):
    """Let `change` alter the manifest."""
    manifest = document(bundle)
    change(manifest)
    # As bundles exported before are named, which is by nothing but their graphs.
    manifest["bundle_id"] = manifest.get("bundle_id") and 64 * "0"
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def sign(bundle, *names):
    """Make hash and size of files true again: an attacker can do that, too."""

    def change(manifest):
        for name in names:
            content = (bundle / name).read_bytes()
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}

    rewrite(bundle, change)


def refused(bundle, *words, at=open_bundle, kind=earmark.BundleError):
    """`at(bundle)` fails with one line of bounded length that holds every word; returns the line."""
    with pytest.raises(kind) as caught:
        at(bundle)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 2000
    for word in words:
        assert word in message, message
    return message
