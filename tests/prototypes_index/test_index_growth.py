"""Growth: whatever order clips came, went and were merged in, the index is that of the clips left."""

import itertools
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prototype_generations import sound, spec_of, write
from refusals import refuses

from earmark.errors import PrototypeIndexError
from earmark.prototypes_index.info import PrototypeCounts
from earmark.prototypes_index.opening import read_generation
from earmark.prototypes_index.tombstones import write_removal
from earmark.prototypes_index.views import find_places


def opened(folder, info):
    return read_generation(folder, spec_of(info))


def answers(generation):
    """What a generation answers: searches and every channel's prototypes, by name."""
    found = []
    for view in generation.views:

        def named(row, view=view):
            entry = generation.entry(view, row)
            label = generation.info.labels[entry.label]
            passages = generation.passages(view)
            passage = None if passages is None else passages[row].item()
            return generation.clip(entry.clip).source, label, entry.frame, entry.row, entry.start_s, passage

        queries = find_places(view, sound(1000)).vectors[:2]
        matches = generation.search(view, queries, 40)
        found += [(m.query, round(m.cosine, 4), m.kind, *named(m.entry)) for m in matches]
        for channel in range(0, generation.info.channels, 5):
            tops = generation.strongest(view, channel)
            found += [(float(top["score"]), *named(int(top["entry"]))) for top in tops]
    return found


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(0, 15), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("remove"), st.lists(st.integers(0, 15), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("merge"), st.lists(st.integers(0, 15), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("rebuild"), st.just([])),
    ),
    max_size=5,
)


@settings(max_examples=15, deadline=None)
@given(steps=steps)
def test_any_order_of_growth_equals_building_from_what_is_left(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("growth")
    with pytest.MonkeyPatch.context() as patch:
        # Nothing here outlives the process.
        patch.setattr("os.fsync", lambda handle: None)
        check_growth(folder, steps)
    shutil.rmtree(folder)


def check_growth(folder, steps):
    names = (folder / f"g{number}" for number in itertools.count())
    numbers, place = [0, 1, 2], next(names)
    current = opened(place, write(place, numbers))

    def new(numbers, given):
        return [number for number in given if number not in numbers]

    for step, given_ in steps:
        place = next(names)
        if step == "add" and new(numbers, given_):
            info = write(place, new(numbers, given_), old=current)
            numbers = numbers + new(numbers, given_)
        elif step == "merge":
            aside = next(names)
            other = opened(aside, write(aside, given_))
            keep = np.array([number not in numbers for number in given_])
            info = write(place, [], parts=[(current, None), (other, keep)])
            numbers = numbers + new(numbers, given_)
        elif step == "remove" and set(numbers) - set(given_):
            sources = {f"a/{number}.wav" for number in given_}
            gone = np.array([current.clip(row).source in sources for row in range(current.info.clips)])
            info, _ = write_removal(current, place, gone)
            numbers = [number for number in numbers if number not in given_]
        elif step == "rebuild":
            info = write(place, [], old=current)
            assert info.removed == 0
        else:
            continue
        current = opened(place, info)
    scratch = next(names)
    fresh = opened(scratch, write(scratch, numbers))
    assert answers(current) == answers(fresh)
    assert current.info.sources == fresh.info.sources == len(numbers)
    assert [clip.source for clip in current.all_clips()] == [f"a/{number}.wav" for number in numbers]


def test_removal_shares_the_heavy_files(tmp_path):
    first = opened(tmp_path / "a", write(tmp_path / "a", range(20), exact_limit=50))
    gone = np.zeros(20, dtype=bool)
    gone[[3, 8]] = True
    info, shared = write_removal(first, tmp_path / "b", gone)
    assert info.removed == 2
    for name in shared:
        assert (tmp_path / "b" / name).samefile(tmp_path / "a" / name), name
    assert {"square.faiss", "square.vectors.npy", "square.entries.npy", "clips.jsonl"} <= set(shared)
    second = opened(tmp_path / "b", info)
    query = find_places("square", sound(3)).vectors[:1]
    assert first.search("square", query, 1)[0].cosine == pytest.approx(1.0, abs=1e-4)
    assert {second.entry("square", m.entry).clip for m in second.search("square", query, 20)}.isdisjoint(
        {3, 8}
    )
    assert len(second.search("square", query, 20)) == 18, "every other sound is found"
    with pytest.raises(PrototypeIndexError, match="no clip would be left"):
        write_removal(second, tmp_path / "c", np.ones(20, dtype=bool))


def test_a_damaged_list_of_the_removed_is_refused(tmp_path):
    first = opened(tmp_path / "a", write(tmp_path / "a", range(6)))
    info, _ = write_removal(first, tmp_path / "b", np.arange(6) < 2)
    path = tmp_path / "b" / "removed.npy"
    for damage in ([0, 6], [-1, 0], [1, 0], [1, 1], [0], [0.0, 1.0]):
        np.save(path, np.array(damage, dtype="<i4" if isinstance(damage[0], int) else "<f8"))
        refuses(PrototypeIndexError, r"removed\.npy", opened, tmp_path / "b", info)
    path.unlink()
    refuses(PrototypeIndexError, r"removed\.npy", opened, tmp_path / "b", info)


def test_prototypes_a_channel_are_as_many_as_asked(tmp_path):
    many = opened(tmp_path / "a", write(tmp_path / "a", range(20), per_channel=3))
    assert many.info.per_channel == 3
    for view in many.views:
        rows = many.prototypes(view)
        assert rows.tolist() == sorted(
            {int(top["entry"]) for channel in range(24) for top in many.strongest(view, channel)}
        )
        assert all(len(many.strongest(view, channel)) == 3 for channel in range(24))
        assert set(many.kinds(view, rows)) == {"prototype"}
        others = set(range(many.info.views[view].entries)) - set(rows.tolist())
        assert set(many.kinds(view, np.array(sorted(others)))) == {"clip"}
        matches = many.search(view, find_places(view, sound(7)).vectors[:1], 20)
        assert [match.kind for match in matches] == many.kinds(view, np.array([one.entry for one in matches]))
        counts = PrototypeCounts(distinct=len(rows), fewest_of_a_channel=3)
        assert many.info.prototypes[view] == counts, "said in index_info.json"
    few = opened(tmp_path / "b", write(tmp_path / "b", range(4)))
    assert few.info.prototypes["square"].fewest_of_a_channel == 2
    # 4 clips of 2 recordings: one prototype a recording.
    assert all(len(few.strongest("square", channel)) == 2 for channel in range(24))


def test_passages_are_kept_where_all_are_known(tmp_path):
    known = opened(tmp_path / "a", write(tmp_path / "a", range(4)))
    unknown = opened(tmp_path / "b", write(tmp_path / "b", [7, 8], passages=False))
    assert (known.info.passages, unknown.info.passages) == (("time",), ())
    assert unknown.passages("time") is None
    assert not (tmp_path / "b" / "time.passages.npy").exists()
    queries = find_places("time", sound(1)).vectors[:1]
    # The clip's number is the rate of its passages: 1 is like 2, and 3 is not.
    asked = known.passages("time")[known.entries("time")["clip"] == 1][:1]
    near = {
        known.clip(known.entry("time", one.entry).clip).source
        for one in known.search("time", queries, 9, passages=asked)
    }
    assert {"a/1.wav"} <= near <= {"a/0.wav", "a/1.wav", "a/2.wav"}
    both = opened(tmp_path / "c", write(tmp_path / "c", [], parts=[(known, None), (unknown, None)]))
    assert both.info.passages == ()
    assert both.search("time", queries, 9, passages=asked) == both.search("time", queries, 9)
    (tmp_path / "a" / "time.passages.npy").write_bytes(b"")
    refuses(PrototypeIndexError, r"time\.passages\.npy", opened, tmp_path / "a", known.info)
