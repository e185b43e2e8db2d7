"""A bundle's prototypes grow: sounds are removed, bundles of one model merged, a learnt graph kept."""

import json
import shutil

import onnx
import pytest
from command_line import invoke
from prototype_generations import write_sounds
from refusals import refuses

import earmark
from earmark.errors import DataError, PrototypeIndexError
from earmark.export.bundle.manifest_file import describe_files
from earmark.export.prototypes.build import index_bundle
from earmark.export.prototypes.growth import merge_bundles, remove_clips
from earmark.runtime.bundle.open import read_manifest
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.opening import open_bundle


@pytest.fixture(scope="module")
def pair(tiny_bundle, tmp_path_factory):
    """Two bundles of one model, indexed from different sounds of which three are the same."""
    folder = tmp_path_factory.mktemp("pair")
    one = write_sounds(folder / "sounds", takes=3)
    other = write_sounds(folder / "others", takes=2, seed=5, labels=("low hum", "noise", "howl"))
    for label in ("noise", "whistle"):
        (other / label).mkdir(exist_ok=True)
        shutil.copy(one / label / "a0_0.wav", other / label / "renamed.wav")
    for name, data in (("a", one), ("b", other)):
        shutil.copytree(tiny_bundle, folder / name)
        index_bundle(folder / name, data, audio=True, any_label=True)
    return folder, one, other


@pytest.fixture
def bundles(pair, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(pair[0] / name, tmp_path / name)
    return tmp_path / "a", tmp_path / "b"


def of_results(bundle, sounds, clip="noise/b0_1.wav"):
    result = earmark.load(bundle, device="cpu").explain(sounds / clip, methods=["prototypes"]).to_dict()
    return result["prototypes"], result["channels"]


def test_removed_sounds_are_gone_from_every_answer(bundles, pair):
    bundle, sounds = bundles[0], pair[1]
    prototypes, _ = of_results(bundle, sounds)
    assert prototypes["square"][0]["clip"] == "noise/b0_1.wav"
    report = remove_clips(bundle, ["noise/b0_1.wav"])
    assert (report.taken_out, report.generation, report.sources) == (["noise/b0_1.wav"], "g0002", 8)
    assert report.hidden == 1
    manifest = open_bundle(bundle, examine=True).manifest
    assert manifest.prototypes.removed == 1
    assert {
        name.removeprefix("prototypes/g0002/"): spec
        for name, spec in manifest.files.items()
        if name.startswith("prototypes/")
    } == describe_files(bundle / "prototypes" / "g0002")
    assert "noise/b0_1.wav" not in json.dumps(of_results(bundle, sounds))
    assert len(list((bundle / "prototypes/g0002/audio").iterdir())) == 8
    again = index_bundle(bundle, sounds)
    assert (again.added, again.hidden, again.sources) == (1, 0, 9)
    assert of_results(bundle, sounds)[0]["square"][0]["clip"] == "noise/b0_1.wav"


def test_removal_by_pattern_writes_anew_past_the_share(bundles, pair):
    bundle, sounds = bundles[0], pair[1]
    report = remove_clips(bundle, ["whistle/*", "noise/a0_0.wav"])
    assert len(report.taken_out) == 4
    assert (report.hidden, report.sources) == (0, 5)
    shutil.copytree(pair[0] / "a", bundle.with_name("hidden"))
    kept = remove_clips(bundle.with_name("hidden"), ["whistle/*", "noise/a0_0.wav"], rebuild_share=0.9)
    assert kept.hidden > 0
    assert of_results(bundle, sounds) == of_results(bundle.with_name("hidden"), sounds)
    fewer = shutil.copytree(sounds, bundle.with_name("fewer"))
    shutil.rmtree(fewer / "whistle")
    (fewer / "noise" / "a0_0.wav").unlink()
    before = of_results(bundle, sounds)
    index_bundle(bundle, fewer, extend=False)
    assert of_results(bundle, sounds) == before


def test_purging_leaves_nothing_on_the_disk(bundles, pair):
    bundle, _ = bundles
    remove_clips(bundle, ["noise/b0_1.wav"])
    report = remove_clips(bundle, ["noise/c0_2.wav"], purge=True)
    assert (report.hidden, report.removed) == (0, ["g0001", "g0002"])
    assert [path.name for path in (bundle / "prototypes").iterdir()] == ["g0003"]
    for path in bundle.rglob("*"):
        assert not path.is_file() or b"noise/c0_2" not in path.read_bytes()
    assert len(list((bundle / "prototypes/g0003/audio").iterdir())) == 7
    open_bundle(bundle, examine=True)


def test_names_that_fit_nothing_remove_nothing(bundles):
    bundle, _ = bundles
    before = describe_files(bundle)
    with pytest.raises(DataError, match=r"nearest: noise/b0_1\.wav"):
        remove_clips(bundle, ["noise/c0_2.wav", "noise/b0_l.wav"])
    refuses(PrototypeIndexError, "no clip would be left", remove_clips, bundle, ["*"])
    assert describe_files(bundle) == before


def test_merging_equals_indexing_both(bundles, pair):
    one, other = bundles
    report = merge_bundles(one, [other])
    assert (report.added, len(report.repeated), report.sources) == (6, 2, 15)
    generation = open_generation(one, open_bundle(one, examine=True).manifest)
    assert generation.info.labels == [*read_manifest(one).labels, "howl"]
    assert all((generation.folder / "audio" / clip.audio).is_file() for clip in generation.all_clips())
    match = earmark.load(one, device="cpu").explain(pair[2] / "howl/b5_1.wav", methods=["prototypes"])
    nearest = match.prototypes["time"][0]
    assert (nearest.label, nearest.clip) == ("howl", "howl/b5_1.wav")
    assert nearest.audio()[0].size
    both = shutil.copytree(pair[0] / "a", one.with_name("both"))
    index_bundle(both, pair[2], any_label=True)
    assert of_results(one, pair[1]) == of_results(both, pair[1])
    again = merge_bundles(one, [other])
    assert (again.added, again.generation) == (0, "g0002"), "nothing new changes nothing"


def test_a_bundle_without_prototypes_takes_over_anothers(tiny_bundle, bundles, pair, tmp_path):
    shutil.copytree(tiny_bundle, tmp_path / "empty")
    report = merge_bundles(tmp_path / "empty", bundles)
    assert (report.sources, report.generation) == (15, "g0001")
    open_bundle(tmp_path / "empty", examine=True)


def test_prototypes_of_another_model_are_not_merged(tiny_bundle, bundles):
    before = describe_files(bundles[0])
    refuses(PrototypeIndexError, "has no prototypes", merge_bundles, bundles[0], [tiny_bundle])
    refuses(PrototypeIndexError, "another model", merge_bundles, bundles[0], [bundles[1], SHIPPED])
    assert describe_files(bundles[0]) == before


def test_a_learnt_graph_stays_with_its_generation(bundles, pair, tmp_path):
    """A graph given with its facts: kept when extended, removed from, built anew; never mixed."""
    bundle, sounds = bundles[0], pair[1]
    model = onnx.load(bundle / "embeddings.onnx")
    model.doc_string = "learnt"
    onnx.save(model, tmp_path / "learnt.onnx")
    learnt, apex = (tmp_path / "learnt.onnx").read_bytes(), {"purity": {"square": 0.5}, "view": None}
    with pytest.raises(PrototypeIndexError, match="not the graph that the clips"):
        index_bundle(bundle, pair[2], embeddings=tmp_path / "learnt.onnx", any_label=True)
    index_bundle(bundle, sounds, extend=False, embeddings=tmp_path / "learnt.onnx", apex=apex, per_channel=2)

    def check():
        generation = open_generation(bundle, open_bundle(bundle).manifest)
        assert generation.info.apex == apex
        assert generation.info.per_channel == 2
        assert (generation.folder / "embeddings.onnx").read_bytes() == learnt
        return generation

    check()
    index_bundle(bundle, pair[2], any_label=True)
    check()
    index_bundle(bundle, pair[2], any_label=True, extend=False)
    check()
    remove_clips(bundle, ["low hum/a5_0.wav"])
    remove_clips(bundle, ["low hum/b5_1.wav"], purge=True)
    generation = check()
    refuses(PrototypeIndexError, "another embeddings graph", merge_bundles, bundle, [bundles[1]])
    # Damaged beyond use, it is replaced by the bundle's own, and that is said.
    (generation.folder / "embeddings.onnx").unlink()
    report = index_bundle(bundle, sounds, extend=False)
    assert "without a learnt U" in report.notes[0]
    assert open_generation(bundle, read_manifest(bundle)).info.apex is None


def test_commands(bundles, pair):
    one, other = map(str, bundles)
    done = invoke(
        "index", one, "--remove", "noise/*", "--remove", "whistle/b0_1.wav", code=0, says="4 sounds removed"
    )
    document = json.loads(invoke("index", one, "--merge", other, "--json").stdout)
    assert (document["added"], document["generation"], document["sources"]) == (7, "g0003", 12)
    done = invoke("index", one, "--remove", "howl/b5_1.wav", "--purge")
    assert "removed g0001, g0002, g0003" in done.stdout
    invoke("index", one, "--remove", "howl/none.wav", code=1, says="nothing was removed")
    for wrong in ([], [str(pair[1]), "--merge", other], ["--purge", "--merge", other]):
        invoke("index", one, *wrong, code=2)
