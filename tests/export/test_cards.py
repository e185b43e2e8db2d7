"""The cards of a bundle stay true whatever happens to its prototypes, and are checked like any file."""

import shutil

import pytest
from prototype_generations import write_sounds

from earmark.export.bundle.manifest_file import describe_files
from earmark.export.prototypes.build import index_bundle
from earmark.export.prototypes.growth import remove_clips
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.opening import open_bundle


@pytest.fixture(scope="module")
def bundle(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards")
    shutil.copytree(tiny_bundle, folder / "bundle")
    index_bundle(folder / "bundle", write_sounds(folder / "sounds", takes=2), audio=True)
    return folder / "bundle"


def test_the_card_is_true_before_and_after_an_index(tiny_bundle, bundle):
    card = (tiny_bundle / "README.md").read_text(encoding="utf-8")
    assert "| explains by | mask; prototypes, where `earmark index` has built some" in card
    assert (bundle / "README.md").read_text(encoding="utf-8") == card


def test_each_generation_brings_its_card(bundle):
    first = (bundle / "prototypes" / "g0001" / "README.md").read_text(encoding="utf-8")
    assert "| clips | 6 of 6 sounds |" in first
    assert "mono at 16000 Hz" in first
    remove_clips(bundle, ["noise/a0_0.wav"], rebuild_share=0.9)
    second = (bundle / "prototypes" / "g0002" / "README.md").read_text(encoding="utf-8")
    assert "# Prototypes of tiny" in second
    assert "| clips | 5 of 5 sounds |" in second
    assert "| removed | 1 clips, hidden until the next rebuild |" in second
    manifest = open_bundle(bundle, examine=True).manifest
    assert (
        manifest.files["prototypes/g0002/README.md"] == describe_files(bundle)["prototypes/g0002/README.md"]
    )


def test_the_shipped_card_names_what_the_shipped_bundle_explains_by():
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for explainer in open_bundle(SHIPPED).manifest.explainers:
        assert explainer in card.split("| explains by |")[1].splitlines()[0]
