"""The ground floor of prototypes: views, tables, indexes, generations."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import prototype_generations
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prototype_generations import CHANNELS, FRAMES, GRID, maps_of, passages_of, sound, spec_of, write
from refusals import refuses

from earmark.errors import PrototypeIndexError
from earmark.prototypes_index.golden import check_golden, golden_entries
from earmark.prototypes_index.opening import read_generation
from earmark.prototypes_index.table import ENTRY, TOPS, IndexedClip, open_table, strongest_clips
from earmark.prototypes_index.views import Grid, dimension, find_places, normalise, views_of
from earmark.prototypes_index.writer import GenerationWriter

# Those of the feature maps here, which have several rows.
VIEWS = views_of(2)


def brute_force(view, maps, channel):
    """Cell, score and vector of one channel, by loops."""

    def first_best(values):
        best = 0
        for index, value in enumerate(values):
            if value > values[best]:
                best = index
        return best

    square, time, frequency = maps["square"], maps["time"], maps["frequency"]
    frames, rows, _ = square.shape
    if view == "square":
        cells = [(t, f) for t in range(frames) for f in range(rows)]
        t, f = cells[first_best([square[cell][channel] for cell in cells])]
        return (t, f), square[t, f, channel], square[t, f] - 0.9 * frequency[f]
    t = first_best(list(time[:, channel]))
    f = first_best(list(frequency[:, channel]))
    passage, band = time[t] - 0.9 * time.mean(axis=0), frequency[f] - 0.9 * frequency.mean(axis=0)
    if view == "time":
        return (t, -1), time[t, channel], passage
    if view == "frequency":
        return (-1, f), frequency[f, channel], band
    score = (time[t, channel] + frequency[f, channel]) / 2
    halves = 1.5 * normalise(passage[None])[0], normalise(band[None])[0]
    return (t, f), score, np.concatenate(halves)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(2, 4), st.integers(1, 9)),
    seed=st.integers(0, 2**16),
    coarse=st.booleans(),
    valid=st.one_of(st.none(), st.integers(1, 8)),
)
def test_views_agree_with_brute_force(shape, seed, coarse, valid):
    random = np.random.default_rng(seed)
    # Coarse values make ties, which go to the first place.
    square = random.integers(0, 3, shape).astype(np.float32) if coarse else random.standard_normal(shape)
    square = square.astype(np.float32)
    maps = maps_of(square)
    real = maps if valid is None or valid >= shape[0] else maps_of(square[:valid])
    for view in VIEWS:
        found = find_places(view, maps, valid)
        assert found.vectors.shape == (len(found.cells), dimension(view, shape[2]))
        assert len({tuple(cell) for cell in found.cells.tolist()}) == len(found.cells), "places are distinct"
        assert set(found.of_channel.tolist()) == set(range(len(found.cells))), "every place is some channel's"
        for channel in range(shape[2]):
            place = found.of_channel[channel]
            cell, score, vector = brute_force(view, real, channel)
            assert tuple(found.cells[place]) == cell
            assert found.scores[channel] == pytest.approx(score, abs=1e-6)
            np.testing.assert_allclose(found.vectors[place], vector, atol=1e-6)


def test_padding_holds_no_place():
    square = np.zeros((10, 3, 4), np.float32)
    square[7:] = 9.0
    for view in ("square", "time", "time_frequency"):
        assert find_places(view, maps_of(square), 5).cells[:, 0].max() < 5
    assert find_places("frequency", maps_of(square), 5).scores.max() == 0.0


def test_one_frequency_row_has_two_views():
    maps = maps_of(np.random.default_rng(0).standard_normal((6, 1, 5)).astype(np.float32))
    assert views_of(1) == ("square", "time")
    np.testing.assert_array_equal(
        find_places("square", maps).cells[:, 0], find_places("time", maps).cells[:, 0]
    )
    for view in ("frequency", "time_frequency"):
        refuses(PrototypeIndexError, "does not exist", find_places, view, maps)


def test_grid_regions_stay_in_the_real_sound():
    grid = Grid(0.4, ((0.0, 100.0), (100.0, 800.0)))
    cells = np.array([[0, 0], [2, 1], [3, -1], [-1, 0]], np.int32)
    regions = grid.regions(cells, 10.0, 1.0)
    np.testing.assert_allclose(regions[0], [10.0, 10.4, 0.0, 100.0])
    np.testing.assert_allclose(regions[1], [10.6, 11.0, 100.0, 800.0])
    np.testing.assert_allclose(regions[2], [10.6, 11.0, 0.0, 800.0])
    np.testing.assert_allclose(regions[3], [10.0, 11.0, 0.0, 100.0])
    assert grid.frames_in(1.0) == 3
    assert grid.frames_in(0.8) == 2


def test_strongest_clips_are_one_a_recording():
    random = np.random.default_rng(3)
    scores = random.integers(0, 20, (300, 7)).astype(np.float32)
    recordings = random.integers(0, 12, 300).astype(np.int32)
    entries = np.arange(2100, dtype=np.int32).reshape(300, 7)
    for chunk in (1 << 20, 7 * 4 * 11):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("earmark.prototypes_index.table.CHUNK_BYTES", chunk)
            tops = strongest_clips(entries, scores, recordings)
        for channel in range(7):
            order = sorted(range(300), key=lambda clip: (-scores[clip, channel], clip))
            seen, expected = set(), []
            for clip in order:
                if recordings[clip] not in seen:
                    seen.add(recordings[clip])
                    expected.append(clip)
            assert tops["clip"][channel].tolist() == expected[:TOPS]
            assert tops["entry"][channel].tolist() == [clip * 7 + channel for clip in expected[:TOPS]]
    few = strongest_clips(entries[:2], scores[:2], np.array([4, 4], np.int32))
    assert (few["clip"][:, 1:] == -1).all()


# Generations


@pytest.fixture
def generation(tmp_path):
    info = write(tmp_path / "g", range(20))
    return read_generation(tmp_path / "g", spec_of(info)), info


def test_every_channel_leads_to_its_place(generation):
    opened, _info = generation
    assert opened.views == VIEWS
    for number in (0, 7, 19):
        for view in VIEWS:
            found = find_places(view, sound(number))
            rows = opened.channels(view)[number]
            entries = opened.entries(view)[rows]
            np.testing.assert_array_equal(opened.scores(view)[number], found.scores)
            np.testing.assert_array_equal(
                np.stack((entries["frame"], entries["row"]), 1), found.cells[found.of_channel]
            )
            assert (entries["clip"] == number).all()
            assert opened.clip(number).source == f"a/{number}.wav"
            stored = opened.index(view).vectors(int(rows[0]), 1)[0]
            np.testing.assert_array_equal(stored, normalise(found.vectors)[found.of_channel[0]])


def test_search_agrees_with_exact_cosines(generation):
    opened, _ = generation
    for view in VIEWS:
        queries = find_places(view, sound(99)).vectors[:3]
        stored = opened.index(view).vectors(0, opened.index(view).info.entries).astype(np.float64)
        cosines = stored @ (queries / np.linalg.norm(queries, axis=1, keepdims=True)).T
        best = {}
        for row, cosine in enumerate(cosines.max(axis=1)):
            clip = int(opened.entries(view)["clip"][row])
            best[clip] = max(best.get(clip, -2.0), cosine)
        matches = opened.search(view, queries, 5)
        assert [match.cosine for match in matches] == pytest.approx(sorted(best.values())[::-1][:5], abs=1e-5)
        assert len({opened.entry(view, match.entry).clip for match in matches}) == 5
        assert len(opened.search(view, queries, 50)) == 20, "one match a source file"


@pytest.mark.parametrize("exact_limit", [100_000, 1])
def test_the_nearest_entry_is_the_first_match(tmp_path, exact_limit):
    info = write(tmp_path / "g", range(20), exact_limit=exact_limit)
    opened = read_generation(tmp_path / "g", spec_of(info))
    bands = np.array([[True, False, False], [False, True, True]])
    for view in VIEWS:
        queries = find_places(view, sound(99)).vectors[:2]
        for rows in (None, bands) if view in {"square", "frequency"} else (None,):
            first = opened.search(view, queries, 1, rows=rows)[0]
            assert opened.nearest(view, queries, rows=rows) == first.cosine


@pytest.mark.parametrize("exact_limit", [100_000, 1])
def test_golden_entries_may_be_zeros_and_stay_so(tmp_path, monkeypatch, exact_limit):
    """A silent clip has vectors of zeros, which have no cosine."""
    noise = prototype_generations.sound

    def silent(number, rows):
        return maps_of(np.zeros((FRAMES, rows, CHANNELS), np.float32)) if number < 2 else noise(number, rows)

    monkeypatch.setattr(prototype_generations, "sound", silent)
    generation = read_generation(
        tmp_path / "g", spec_of(write(tmp_path / "g", range(20), exact_limit=exact_limit))
    )
    golden = json.loads(golden_entries(generation))
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    check_golden(generation, tmp_path / "golden.json")
    for entries in golden.values():
        assert not any(entries[0]["vector"])
        assert any(entries[-1]["vector"])
    for entry in (0, -1):
        changed = copy.deepcopy(golden)
        one = changed["time"][entry]
        one["vector"] = [0.0] * len(one["vector"]) if entry else golden["time"][-1]["vector"]
        (tmp_path / "golden.json").write_text(json.dumps(changed))
        with pytest.raises(PrototypeIndexError, match=f"entry {one['row']} is not what it was"):
            check_golden(generation, tmp_path / "golden.json")


@pytest.mark.parametrize("length", [1e-10, 3e-9, 1e-7])
@pytest.mark.parametrize("exact_limit", [100_000, 1])
def test_golden_entries_of_faint_vectors_agree(tmp_path, monkeypatch, exact_limit, length):
    """Below 1e-8 a vector is not brought to length 1."""
    loud = prototype_generations.sound

    def faint(number, rows):
        maps = loud(number, rows)
        if number >= 2:
            return maps
        whole = maps["square"] - 0.9 * maps["frequency"]
        scale = length / float(np.sqrt((whole**2).sum(axis=-1)).max())
        return maps_of(maps["square"] * np.float32(scale))

    monkeypatch.setattr(prototype_generations, "sound", faint)
    generation = read_generation(
        tmp_path / "g", spec_of(write(tmp_path / "g", range(20), exact_limit=exact_limit))
    )
    (tmp_path / "golden.json").write_bytes(golden_entries(generation))
    check_golden(generation, tmp_path / "golden.json")


def test_one_row_generation(tmp_path):
    info = write(tmp_path / "g", range(5), rows=1)
    opened = read_generation(tmp_path / "g", spec_of(info))
    assert opened.views == ("square", "time")


def test_a_file_is_in_whole_or_not_at_all(tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"a graph")
    writer = GenerationWriter(
        tmp_path / "g",
        embeddings=tmp_path / "graph.onnx",
        model_sha256="model",
        labels=["a", "b"],
        views=VIEWS,
        channels=CHANNELS,
        grid=GRID,
    )

    def add(number, label=None):
        label = label or "ab"[number % 2]
        clip = IndexedClip(f"c{number}", f"a/{number}.wav", label, 0.0, 2.0, f"s{number}", f"r{number // 2}")
        places = {view: find_places(view, sound(number)) for view in VIEWS}
        writer.add(clip, places, passages=passages_of(number, places))

    add(0)

    def add_half():
        with writer.whole():
            add(8, "a label of nothing else")
            raise OSError("half-way")

    with pytest.raises(OSError, match="half-way"):
        add_half()
    for number in range(1, 4):
        add(number)
    writer.finish()
    write(tmp_path / "h", range(4))
    for path in (tmp_path / "h").iterdir():
        assert path.read_bytes() == (tmp_path / "g" / path.name).read_bytes(), path.name


# Damage


@pytest.mark.parametrize("name", ["time.faiss", "time.entries.npy", "square.channels.npy", "clips.npy"])
@pytest.mark.parametrize("how", ["cut", "empty", "longer", "gone"])
def test_wrong_sizes_are_refused(generation, name, how):
    opened, info = generation
    path = opened.folder / name
    data = path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes({"cut": data[:-3], "empty": b"", "longer": data + b"12345678"}[how])
    with pytest.raises(PrototypeIndexError, match=name.replace(".", r"\.")):
        read_generation(opened.folder, spec_of(info))


def test_tables_are_never_unpickled(tmp_path):
    path = tmp_path / "t.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(PrototypeIndexError):
        open_table(path, ENTRY, (1,))
    np.save(path, np.zeros(3))
    for dtype, shape in ((np.dtype("<f4"), (3,)), (np.dtype("<f8"), (4,)), (np.dtype("<f8"), (3, 1))):
        with pytest.raises(PrototypeIndexError):
            open_table(path, dtype, shape)
    assert open_table(path, np.dtype("<f8"), (3,)).tolist() == [0.0, 0.0, 0.0]


def test_disagreement_with_the_manifest_is_refused(generation):
    opened, info = generation
    spec = spec_of(info)
    for change in (
        {"clips": 21},
        {"entries": {**spec.entries, "time": 3}},
        {"dimensions": {**spec.dimensions, "time": 25}},
        {"views": ["square"]},
    ):
        with pytest.raises(PrototypeIndexError, match="the manifest says"):
            read_generation(opened.folder, SimpleNamespace(**{**vars(spec), **change}))
    refuses(PrototypeIndexError, "another model", read_generation, opened.folder, spec, model_sha256="other")
    with pytest.raises(PrototypeIndexError, match="not the embeddings graph"):
        read_generation(opened.folder, spec, embeddings_sha256="0" * 64)
    (opened.folder / "embeddings.onnx").write_bytes(b"another graph")
    refuses(PrototypeIndexError, "not the embeddings graph", read_generation, opened.folder, spec)


def test_damaged_info_and_lines_are_refused(generation):
    opened, info = generation
    path = opened.folder / "index_info.json"
    text = path.read_text()
    for damage in ("", "[]", "{", text.replace('"flat"', '"odd"'), text.replace("clips", "chips")):
        path.write_text(damage)
        with pytest.raises(PrototypeIndexError, match=r"index_info\.json"):
            read_generation(opened.folder, spec_of(info))
    path.write_text(text.replace('"schema_version": 2', '"schema_version": 3'))
    with pytest.raises(PrototypeIndexError, match="newer"):
        read_generation(opened.folder, spec_of(info))
    path.write_text(text.replace('"contrast": true', '"contrast": false'))
    with pytest.raises(PrototypeIndexError, match=r"older kind.*--rebuild"):
        read_generation(opened.folder, spec_of(info))
    path.write_text(text)
    lines = opened.folder / "clips.jsonl"
    kept = lines.read_bytes()
    # The old mapping may still be read, so the file is replaced, not rewritten.
    lines.unlink()
    lines.write_bytes(kept.replace(b'"audio": null', b'"audio": "../x"'))
    damaged = read_generation(opened.folder, spec_of(info))
    refuses(PrototypeIndexError, r"clips\.jsonl", damaged.clip, 3)
    assert opened.clip(3).source == "a/3.wav", "a reader holds what it opened"


def test_entries_that_point_nowhere_are_refused(generation):
    opened, info = generation
    path = opened.folder / "time.entries.npy"
    table = np.load(path)
    table["clip"] = 1 << 20
    path.unlink()
    np.save(path, table)
    damaged = read_generation(opened.folder, spec_of(info))
    with pytest.raises(PrototypeIndexError, match="damaged"):
        damaged.search("time", find_places("time", sound(1)).vectors[:1], 3)
