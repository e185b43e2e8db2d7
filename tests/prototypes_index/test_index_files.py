"""One view's index: exact or in lists, its measured recall, and files that are damaged."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from refusals import refuses

from earmark.errors import PrototypeIndexError
from earmark.prototypes_index import index_build
from earmark.prototypes_index.index import ViewIndex
from earmark.prototypes_index.index_build import build_index
from earmark.prototypes_index.views import normalise


def vectors_of(count, dimension, seed=0):
    """Vectors about a few centres, as embeddings lie: most of their energy in few directions."""
    random = np.random.default_rng(seed)
    centres = np.maximum(random.standard_normal((12, dimension)), 0) ** 2
    mixed = random.dirichlet(np.full(12, 0.3), count) @ centres
    return normalise((mixed * np.exp(0.2 * random.standard_normal(mixed.shape))).astype(np.float32))


def exact(vectors, queries, count):
    cosines = queries.astype(np.float64) @ vectors.astype(np.float64).T
    rows = np.argsort(-cosines, axis=1)[:, :count]
    return np.take_along_axis(cosines, rows, 1), rows


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """3000 vectors in lists: path, what is known of it, the vectors."""
    path = tmp_path_factory.mktemp("lists") / "v.faiss"
    vectors = vectors_of(3000, 64)
    return path, build_index(vectors, path, exact_limit=100, seed=4), vectors


def test_lists_answer_as_exact_search_does(lists):
    path, info, vectors = lists
    assert info.kind == "ivf"
    assert info.projected < info.dimension
    assert info.probes < info.lists, "a search does not read everything"
    index = ViewIndex(path, info)
    # Its queries are none of the build's.
    queries = normalise(vectors_of(200, 64, seed=9) + vectors[:200])
    cosines, rows = index.search(queries, 10)
    best, _ = exact(vectors, queries, 10)
    assert rows.shape[1] >= 10
    found = cosines[:, :10]
    assert np.mean(found >= best[:, 9:] - 1e-3) >= 0.95
    # What it reports is the cosine itself, best first, whatever the codes say.
    true = np.einsum("qkd,qd->qk", vectors[rows[:, :10]], queries)
    np.testing.assert_allclose(found, true, atol=5e-5)
    assert (np.diff(found, axis=1) <= 0).all()


def test_recall_is_measured_as_promised(lists):
    path, info, vectors = lists
    assert 0.95 <= info.recall_at_10 <= 1.0
    index = ViewIndex(path, replace(info, probes=1, candidates=10))
    random = np.random.default_rng(0)
    one, other = random.permutation(3000)[:300], random.permutation(3000)[:300]
    queries = normalise(0.65 * vectors[one] + 0.35 * vectors[other])

    def recall(index):
        best, _ = exact(vectors, queries, 10)
        return np.mean(index.search(queries, 10)[0][:, :10] >= best[:, 9:] - 1e-3)

    assert recall(ViewIndex(path, info)) == pytest.approx(info.recall_at_10, abs=0.04)
    assert recall(index) < info.recall_at_10 - 0.05, "less effort finds less"


def test_who_wants_all_gets_all(lists):
    path, info, vectors = lists
    cosines, rows = ViewIndex(path, info).search(vectors[:1], 3000)
    assert sorted(rows[0].tolist()) == list(range(3000))
    np.testing.assert_allclose(cosines, exact(vectors, vectors[:1], 3000)[0], atol=5e-5)


@pytest.mark.parametrize("limit", [100, 10_000])
def test_hidden_entries_are_never_found(tmp_path, limit):
    vectors = vectors_of(2000, 32, seed=3)
    index = ViewIndex(tmp_path / "v.faiss", build_index(vectors, tmp_path / "v.faiss", exact_limit=limit))
    hidden = np.zeros(2000, dtype=bool)
    _, first = index.search(vectors[:20], 10)
    hidden[first[first >= 0]] = True
    index.exclude(hidden)
    cosines, rows = index.search(vectors[:20], 10)
    assert not hidden[rows[rows >= 0]].any()
    left = np.flatnonzero(~hidden)
    best, _ = exact(vectors[left], vectors[:20], 10)
    assert np.mean(cosines[:, :10] >= best[:, 9:] - 1e-3) >= 0.9


@pytest.mark.parametrize("vectors", ["random", "alike"])
def test_vectors_without_structure_are_found_too(tmp_path, vectors):
    """Without few directions that hold their energy, or all alike: more effort, or lists left empty."""
    random = np.random.default_rng(1)
    stored = normalise(random.standard_normal((2000, 48)).astype(np.float32))
    if vectors == "alike":
        stored = np.repeat(stored[:3], 700, axis=0)
    info = build_index(stored, tmp_path / "v.faiss", exact_limit=100)
    assert info.recall_at_10 >= 0.95
    queries = normalise(stored[:50] + 0.1 * random.standard_normal((50, 48)).astype(np.float32))
    best, _ = exact(stored, queries, 10)
    found = ViewIndex(tmp_path / "v.faiss", info).search(queries, 10)[0][:, :10]
    assert np.mean(found >= best[:, 9:] - 1e-3) >= 0.95


def test_the_same_vectors_make_the_same_files(lists, tmp_path):
    path, info, vectors = lists
    assert build_index(vectors, tmp_path / "v.faiss", exact_limit=100, seed=4) == info
    for name in ("v.faiss", "v.projection.npy", "v.vectors.npy"):
        assert (tmp_path / name).read_bytes() == path.with_name(name).read_bytes()


def test_stored_vectors_survive_another_writing(lists, tmp_path):
    """Vectors are kept in 16 bits: read and written again they are the same."""
    path, info, vectors = lists
    index = ViewIndex(path, info)
    read = index.vectors(0, 3000)
    np.testing.assert_allclose(read, vectors, atol=2e-5)
    np.testing.assert_array_equal(index.vectors_at(np.array([5, 2999])), read[[5, 2999]])
    again = ViewIndex(tmp_path / "v.faiss", build_index(read, tmp_path / "v.faiss", exact_limit=100, seed=4))
    np.testing.assert_array_equal(again.vectors(0, 3000), read)


# Damage


def overwrite(path, position, content):
    data = bytearray(path.read_bytes())
    data[position : position + len(content)] = content
    path.unlink()
    path.write_bytes(bytes(data))


FLAT_DAMAGE = {
    "fourcc": (0, b"IxF2"),
    "another kind": (0, b"IHNf"),
    "dimension": (4, struct.pack("<i", 4096)),
    "count": (8, struct.pack("<q", 1 << 40)),
    "negative count": (8, struct.pack("<q", -1)),
    "metric": (33, struct.pack("<i", 1)),
    "size of the vectors": (37, struct.pack("<Q", 1 << 60)),
}


@pytest.mark.parametrize("kind", FLAT_DAMAGE)
def test_a_flat_header_is_checked_before_mapping(tmp_path, kind):
    vectors = vectors_of(50, 16)
    info = build_index(vectors, tmp_path / "v.faiss")
    overwrite(tmp_path / "v.faiss", *FLAT_DAMAGE[kind])
    refuses(PrototypeIndexError, r"v\.faiss", ViewIndex, tmp_path / "v.faiss", info)


def positions_of_lengths(data, info):
    """Where the file of lists says how much follows, and where its kind and metrics stand."""
    width, lists = info.projected, info.lists
    centres = 37 + 16
    after = centres + 37 + 8 + 4 * lists * width
    sizes = after + 9 + 28 + 8 + 8 * width + 9
    return {
        "fourcc": 0,
        "dimension": 4,
        "count": 8,
        "metric": 33,
        "lists": 37,
        "centres' fourcc": centres,
        "centres": centres + 8,
        "centres' numbers": centres + 37,
        "direct map": after,
        "direct map's length": after + 1,
        "kind of code": after + 9,
        "code's dimension": after + 9 + 12,
        "code's length": after + 9 + 20,
        "ranges": after + 9 + 28,
        "bytes a code": sizes - 9,
        "lists again": sizes + 4,
        "bytes a code again": sizes + 12,
        "form of the sizes": sizes + 20,
        "number of sizes": sizes + 24,
        "a size": sizes + 32,
        "the last size": sizes + 32 + 8 * (lists - 1),
    }


def test_every_length_in_a_file_of_lists_is_checked(lists, tmp_path):
    path, info, _ = lists
    original = path.read_bytes()
    for name in ("v.projection.npy", "v.vectors.npy"):
        (tmp_path / name).write_bytes(path.with_name(name).read_bytes())
    broken = tmp_path / "v.faiss"
    for what, position in positions_of_lengths(original, info).items():
        for value in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x07\x00\x00\x00"):
            if original[position : position + 4] == value:
                continue
            broken.write_bytes(original)
            overwrite(broken, position, value)
            with pytest.raises(PrototypeIndexError, match=r"v\.faiss"):
                pytest.fail(f"{what} {ViewIndex(broken, info)}")
    for cut in (-1, len(original) // 2, 100, 0):
        broken.write_bytes(original[:cut])
        refuses(PrototypeIndexError, r"v\.faiss", ViewIndex, broken, info)
    broken.write_bytes(original + b"1")
    refuses(PrototypeIndexError, r"v\.faiss", ViewIndex, broken, info)


@pytest.mark.parametrize("name", ["v.projection.npy", "v.vectors.npy"])
def test_what_lies_beside_the_lists_is_checked(lists, tmp_path, name):
    path, info, _ = lists
    for other in ("v.faiss", "v.projection.npy", "v.vectors.npy"):
        (tmp_path / other).write_bytes(path.with_name(other).read_bytes())
    content = (tmp_path / name).read_bytes()
    for damage in (content[:-1], content[:64], b"", content + b"1", content.replace(b"<", b">", 1)):
        (tmp_path / name).write_bytes(damage)
        refuses(PrototypeIndexError, name, ViewIndex, tmp_path / "v.faiss", info)
    (tmp_path / name).unlink()
    refuses(PrototypeIndexError, name, ViewIndex, tmp_path / "v.faiss", info)


def test_rows_out_of_range_are_refused(lists, tmp_path):
    path, info, vectors = lists
    for name in ("v.projection.npy", "v.vectors.npy"):
        (tmp_path / name).write_bytes(path.with_name(name).read_bytes())
    data = bytearray(path.read_bytes())
    # The last list ends the file, its rows after its codes.
    data[-8:] = struct.pack("<q", 1 << 40)
    (tmp_path / "v.faiss").write_bytes(bytes(data))
    index = ViewIndex(tmp_path / "v.faiss", info)
    refuses(PrototypeIndexError, "damaged", index.search, vectors[:1], 3000)


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1), value=st.integers(0, 255), kind=st.sampled_from(["flat", "ivf"]))
def test_a_changed_byte_never_crashes(tmp_path_factory, place, value, kind):
    folder = tmp_path_factory.mktemp("header")
    vectors = vectors_of(80, 8)
    info = build_index(vectors, folder / "v.faiss", exact_limit=100 if kind == "flat" else 10)
    size = (folder / "v.faiss").stat().st_size
    # Most lengths stand in the first bytes.
    overwrite(folder / "v.faiss", int(place**3 * (size - 1)), bytes([value]))
    with contextlib.suppress(PrototypeIndexError):
        ViewIndex(folder / "v.faiss", info).search(vectors[:2], 3)


def test_more_directions_come_before_reading_everything(tmp_path, monkeypatch):
    """Many copies of few vectors, moved a little each way: neighbours differ in what is left out."""
    random = np.random.default_rng(0)
    energy = np.repeat(np.float32([1, 0.1]), [8, 88])
    places = normalise(random.standard_normal((400, 96), dtype=np.float32) * energy)
    vectors = np.repeat(places, 50, axis=0)
    vectors = normalise(vectors + 0.01 * random.standard_normal(vectors.shape, dtype=np.float32))
    # Efforts that do not suffice in the directions with most of the energy.
    monkeypatch.setattr(index_build, "EFFORTS", ((16, 16),))
    info = build_index(vectors, tmp_path / "time.faiss", exact_limit=1000)
    assert info.recall_at_10 >= index_build.RECALL_WANTED
    assert info.projected == info.dimension
    assert (info.probes, info.candidates) == (16, 16)
    index = ViewIndex(tmp_path / "time.faiss", info)
    queries = vectors[::500]
    found = np.array([index.search(query[None], 10)[0][0, 9] for query in queries])
    assert np.mean(found >= np.sort(queries @ vectors.T)[:, -10] - 1e-3) > 0.9
