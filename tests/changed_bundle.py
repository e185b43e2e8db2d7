"""Bundles that somebody changed: files written anew, hashes made true again, and what is said of them."""

import hashlib
import json
from contextlib import contextmanager

import numpy as np
import pytest

import earmark
from earmark.runtime.opening import open_bundle


@contextmanager
def edited(path):
    """The JSON in a file, written anew as it is at the end."""
    document = json.loads(path.read_text())
    yield document
    path.write_text(json.dumps(document))


@contextmanager
def edited_arrays(bundle, name):
    """The arrays in a file of the bundle, written anew as they are at the end."""
    with np.load(bundle / name) as file:
        arrays = dict(file)
    yield arrays
    np.savez_compressed(bundle / name, **arrays)
    sign(bundle, name)


def document(bundle):
    """The manifest as JSON."""
    return json.loads((bundle / "bundle.json").read_text())


@contextmanager
def rewritten(bundle):
    """The manifest, written anew as it is at the end."""
    with edited(bundle / "bundle.json") as manifest:
        yield manifest
        # As bundles exported before are named, which is by nothing but their graphs.
        manifest["bundle_id"] = manifest.get("bundle_id") and 64 * "0"


def rewrite(bundle, change):
    """Let `change` alter the manifest."""
    with rewritten(bundle) as manifest:
        change(manifest)


def drop_decoder(bundle):
    """The bundle as it would be without a decoder."""
    with rewritten(bundle) as manifest:
        manifest["stages"] = [stage for stage in manifest["stages"] if stage["name"] != "decoder"]
        manifest["explainers"].remove("mask")
        del manifest["mask_targets"], manifest["files"]["decoder.onnx"]
    (bundle / "decoder.onnx").unlink()


def sign(bundle, *names):
    """Make hash and size of files true again: an attacker can do that, too."""
    with rewritten(bundle) as manifest:
        for name in names:
            content = (bundle / name).read_bytes()
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


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
