"""The four views find what each is for: the same sound is nearest to another clip in each of them."""

import shutil

import numpy as np
import pytest
import soundfile
import views_model as kinds
from later import later

import earmark
from earmark.prototypes_index.views import CONTRAST, embed, find_places, normalise

later("torch")


CHANNELS = 64


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The model as a `Source`, and its bundle."""
    from earmark.export.bundle.write import write_bundle
    from earmark.export.sources.adapter.source import from_adapter

    source, path = from_adapter(kinds.adapter()), tmp_path_factory.mktemp("model") / "bundle"
    write_bundle(source, path)
    return source, path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of each kind over a hum of each pitch; hums alone among them."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(1)
    for label in kinds.LABELS:
        (folder / label).mkdir()
        for pitch in kinds.PITCHES:
            for take in "ab":
                soundfile.write(
                    folder / label / f"{pitch:.0f}{take}x.wav", kinds.draw(label, pitch, random), kinds.RATE
                )
    return folder


@pytest.fixture(scope="module", params=["identity", "random"])
def explainer(request, made, clips, tmp_path_factory):
    """The bundle with those clips indexed, with U = I or a random rotation folded in."""
    from earmark.evaluation.prototypes.purity import random_rotation
    from earmark.export.graphs.embeddings import embeddings_model
    from earmark.export.prototypes.build import index_bundle

    folder = tmp_path_factory.mktemp(request.param)
    source, bundle = made
    shutil.copytree(bundle, folder / "bundle")
    graph = None
    if request.param == "random":
        graph, turned, spec = folder / "turned.onnx", random_rotation(CHANNELS, 0), source.feature_map
        embeddings_model(graph, spec, source.taps[spec.tap], source.head, turned)
    index_bundle(folder / "bundle", clips, embeddings=graph)
    return earmark.load(folder / "bundle", device="cpu")


def first_of(found, label, pitch):
    """The nearest clip but those of the query's own kind and pitch: no other is right in both."""
    return next(one for one in found if not one.clip.startswith(f"{label}/{pitch:.0f}"))


def test_the_right_view_ranks_the_right_prototype_first(explainer, monkeypatch):
    monkeypatch.setattr("earmark.runtime.methods.prototypes.explanation.MATCHES", 12)
    random = np.random.default_rng(2)
    right = {label: [] for label in (*kinds.LABELS, "what hums with the click")}
    for label in kinds.LABELS:
        for pitch in (*kinds.PITCHES, *kinds.PITCHES):
            sound = kinds.draw(label, pitch, random)
            found = explainer.explain(
                sound, sample_rate=kinds.RATE, target=label, methods=["prototypes"]
            ).prototypes
            if label == "hum":
                # The pitch, whatever else sounds there.
                right[label].append(f"/{pitch:.0f}" in found["frequency"][0].clip)
                continue
            first = {view: first_of(found[view], label, pitch) for view in found}
            if label == "click":
                # A rhythm's beats are as short.
                right[label].append(first["square"].label in {"click", "rhythm"})
                right["what hums with the click"].append(f"/{pitch:.0f}" in first["frequency"].clip)
            else:
                view = {"rhythm": "time", "chirp": "time_frequency"}[label]
                right[label].append(first[view].label == label)
    shares = {label: float(np.mean(one)) for label, one in right.items()}
    assert shares["click"] >= 0.9
    assert shares["rhythm"] >= 0.9
    assert shares["hum"] >= 0.9
    assert shares["chirp"] >= 0.8
    # One sound, two answers: in its bands a click among hum is nearest to what hums as it does.
    assert shares["what hums with the click"] >= 0.9


def maps_of(square):
    return {"square": square, "time": square.mean(1), "frequency": square.mean(0)}


def test_contrast_leaves_what_is_common_to_the_whole_sound_out():
    random = np.random.default_rng(0)
    square = np.abs(random.standard_normal((9, 4, 7))).astype(np.float32)
    maps = maps_of(square)
    cells = np.array([[3, 1], [0, 2]], np.int32)
    for cell, square_, time, frequency in zip(
        cells,
        embed("square", maps, cells),
        embed("time", maps, cells),
        embed("frequency", maps, cells),
        strict=True,
    ):
        frame, row = cell
        whole = square.mean(axis=(0, 1))
        np.testing.assert_allclose(square_, square[frame, row] - CONTRAST * square[:, row].mean(0), atol=1e-6)
        np.testing.assert_allclose(time, square[frame].mean(0) - CONTRAST * whole, atol=1e-6)
        np.testing.assert_allclose(frequency, square[:, row].mean(0) - CONTRAST * whole, atol=1e-6)
    both = embed("time_frequency", maps, cells)
    halves = [normalise(embed(view, maps, cells)) for view in ("time", "frequency")]
    np.testing.assert_allclose(both, np.concatenate((1.5 * halves[0], halves[1]), axis=1), atol=1e-6)


def test_of_a_sound_that_only_sustains_contrast_keeps_the_direction():
    """In square and time; what all bands share is no band."""
    random = np.random.default_rng(1)
    spectrum = np.abs(random.standard_normal((1, 4, 7))).astype(np.float32)
    maps = maps_of(np.repeat(spectrum, 9, axis=0))
    for view in ("square", "time"):
        found = find_places(view, maps)
        plain = maps[view][tuple(found.cells.T)] if view == "square" else maps[view][found.cells[:, 0]]
        np.testing.assert_allclose(normalise(found.vectors), normalise(plain), atol=1e-4)


def test_contrast_commutes_with_u():
    """A rotation of the channels changes no cosine, so no neighbour of a given place."""
    random = np.random.default_rng(2)
    square = random.standard_normal((9, 4, 7)).astype(np.float32)
    turned, _ = np.linalg.qr(random.standard_normal((7, 7)))
    turned = turned.astype(np.float32)
    cells = np.array([[3, 1], [5, 2]], np.int32)
    for view in ("square", "time", "frequency"):
        before = embed(view, maps_of(square), cells)
        after = embed(view, maps_of(square @ turned.T), cells)
        np.testing.assert_allclose(before @ turned.T, after, atol=1e-5)
