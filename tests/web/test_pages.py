"""Folders of web pages, without a browser: graphs, flat files, refusals."""

import html
import shutil
import tarfile

import msgspec
import numpy as np
import onnx
import pytest
from command_line import invoke

import earmark
from earmark.export.prototypes.growth import remove_clips
from earmark.export.web import write
from earmark.export.web.facts import PageFacts
from earmark.export.web.graphs import check, graphs_of
from earmark.export.web.onnxruntime_web import PACKAGE
from earmark.export.web.prototypes import PageClip, write_prototypes
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.opening import open_bundle


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(SHIPPED)


@pytest.fixture
def no_runtime(monkeypatch):
    """Leaves onnxruntime-web out, which npm would fetch."""
    monkeypatch.setattr(write, "copy_runtime", lambda folder, package: None)


def test_a_page_has_its_own_files_alone(no_runtime, tmp_path):
    assert "python -m http.server" in invoke("export", SHIPPED, "--web", tmp_path / "page", code=0).stdout
    page = html.unescape((tmp_path / "page" / "index.html").read_text(encoding="utf-8"))
    assert "connect-src 'self'" in page
    assert "unsafe-inline" not in page
    facts = msgspec.json.decode((tmp_path / "page" / "model" / "model.json").read_bytes(), type=PageFacts)
    manifest = open_bundle(SHIPPED).manifest
    assert (facts.labels, facts.sample_rate, facts.mask) == (manifest.labels, 16000, "any")
    assert (facts.window.length, facts.window.hop, facts.window.longest) == (32000, 16000, 32320)
    assert (tmp_path / "page" / facts.example).read_bytes() == SHIPPED.with_name("example.flac").read_bytes()
    invoke("export", SHIPPED, "--web", tmp_path / "page", code=1, says="--force")
    invoke("export", SHIPPED, "--web", tmp_path / "page", "--force", code=0)
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_what_is_no_page_stays(no_runtime, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    invoke("export", SHIPPED, "--web", tmp_path / "mine", "--force", code=1, says="no page")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_graphs_that_differ_are_refused(bundle, tmp_path):
    graphs = graphs_of(bundle)
    assert graphs.explain is not None
    assert graphs.between == ("logmel", "map2", "map3", "map4", "stft")
    for name, model in (("classify", graphs.classify), ("explain", graphs.explain)):
        onnx.save(model, tmp_path / f"{name}.onnx")
    found = check(bundle, tmp_path / "classify.onnx", tmp_path / "explain.onnx")
    assert set(found) == {
        "logits", "mask", "kept", "square", "time", "frequency", "contributions", "bias",
    }  # fmt: skip
    # An inverse STFT that is a little too loud.
    for node in graphs.explain.graph.initializer:
        if node.name.startswith("earmark/") and node.dims == [514, 512]:
            weights = onnx.numpy_helper.to_array(node) * np.float32(1.001)
            node.CopyFrom(onnx.numpy_helper.from_array(weights, node.name))
    onnx.save(graphs.explain, tmp_path / "explain.onnx")
    with pytest.raises(earmark.ParityError, match="kept"):
        check(bundle, tmp_path / "classify.onnx", tmp_path / "explain.onnx")


def test_flat_files_hold_the_index_without_removed_clips(tmp_path):
    path = shutil.copytree(SHIPPED, tmp_path / "bundle")
    gone = open_generation(path, open_bundle(path).manifest).clip(5)
    remove_clips(path, [gone.source])
    bundle = open_bundle(path)
    generation = open_generation(path, bundle.manifest)
    written = write_prototypes(bundle, tmp_path / "flat")
    clips = msgspec.json.decode((tmp_path / "flat" / "clips.json").read_bytes(), type=list[PageClip])
    assert written is not None
    assert [clip.name for clip in clips] == [clip.source for clip in generation.all_clips()]
    assert gone.source not in {clip.name for clip in clips}
    sounds = sorted(path.name for path in (tmp_path / "flat" / "audio").iterdir())
    assert sounds == sorted({clip.audio for clip in clips})
    assert gone.audio not in sounds
    random = np.random.default_rng(0)
    for view in written.views:
        flat = tmp_path / "flat" / view.name
        vectors = np.fromfile(f"{flat}.vectors.f32", "<f4").reshape(view.entries, view.dimension)
        rows = np.fromfile(f"{flat}.rows.i32", "<i4").reshape(view.entries, 4)
        places = np.fromfile(f"{flat}.places.f64", "<f8").reshape(view.entries, 4)
        queries = random.standard_normal((3, view.dimension)).astype(np.float32)
        cosines, nearest = generation.index(view.name).search(queries, 4)
        compared = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ vectors.T
        np.testing.assert_allclose(np.sort(compared, axis=1)[:, :-5:-1], cosines, atol=1e-6)
        for query in range(3):
            entry = generation.entry(view.name, int(nearest[query, 0]))
            found = int(compared[query].argmax())
            assert clips[rows[found, 0]].name == generation.clip(entry.clip).source
            assert rows[found, 1:].tolist() == [
                entry.label,
                entry.row,
                int(generation.kinds(view.name, nearest[query, :1]) == ["prototype"]),
            ]
            assert places[found].tolist() == [entry.start_s, entry.end_s, entry.fmin_hz, entry.fmax_hz]


def test_npm_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    invoke("export", SHIPPED, "--web", tmp_path / "page", code=1, says=("Node.js", "--onnxruntime-web"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_another_onnxruntime_web_is_refused(tmp_path, packed):
    package = tmp_path / "package"
    (package / "dist").mkdir(parents=True)
    (package / "dist" / "ort.wasm.min.mjs").write_text("export const run = () => alert('mine');")
    given = package
    if packed:
        given = tmp_path / "package.tgz"
        with tarfile.open(given, "w:gz") as archive:
            archive.add(package, "package")
        shutil.rmtree(package)
    words = ("export", SHIPPED, "--web", tmp_path / "page", "--onnxruntime-web", given)
    invoke(*words, code=1, says=f"is not that of {PACKAGE}")
    assert not (tmp_path / "page").exists()


def test_options_of_pages_need_a_page(tmp_path):
    words = ("export", SHIPPED, "--fused", tmp_path / "x.onnx", "--example", SHIPPED / "bundle.json")
    invoke(*words, code=2, says="--web")
