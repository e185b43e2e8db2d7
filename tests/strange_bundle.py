"""A copy of the shipped bundle for a stranger to change, every hash made true again."""

import hashlib
import os
import shutil

import numpy as np
import onnx
import pytest
from changed_bundle import edited, sign

import earmark
from earmark.runtime.bundle.open import read_manifest
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.methods.prototypes.generation import model_hash

GENERATION = "prototypes/g0001"
EMBEDDINGS = f"{GENERATION}/embeddings.onnx"
RATE = 16000
SOUND = (0.5 * np.sin(np.arange(RATE) * 0.3)).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "earmark" / "examined"


@pytest.fixture
def bundle(tmp_path):
    # Sounds are seldom changed, and never in place.
    shutil.copytree(SHIPPED, tmp_path / "bundle", ignore=shutil.ignore_patterns("audio"))
    shutil.copytree(
        SHIPPED / GENERATION / "audio", tmp_path / "bundle" / GENERATION / "audio", copy_function=link
    )
    return tmp_path / "bundle"


def link(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def edit_graph(bundle, name, change):
    model = onnx.load(bundle / name, load_external_data=False)
    change(model)
    (bundle / name).write_bytes(model.SerializeToString())
    sign_graph(bundle, name)


def sign_graph(bundle, name):
    """Make hashes true again, those by which the prototypes know their graph and their model too."""
    sign(bundle, name)
    with edited(bundle / GENERATION / "index_info.json") as info:
        info["embeddings_sha256"] = hashlib.sha256((bundle / EMBEDDINGS).read_bytes()).hexdigest()
        info["model_sha256"] = model_hash(read_manifest(bundle))
    sign(bundle, f"{GENERATION}/index_info.json")


def edit_table(bundle, name, change):
    table = np.load(bundle / GENERATION / name).copy()
    change(table)
    np.save(bundle / GENERATION / name, table)
    sign(bundle, f"{GENERATION}/{name}")


def explain(bundle, **options):
    return earmark.load(bundle, "cpu").explain((SOUND, RATE), **options)
