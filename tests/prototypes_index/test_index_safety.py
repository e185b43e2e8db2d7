"""Whatever happens to a writer, readers find the old prototypes or the new ones, whole."""

import itertools
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from prototype_generations import write_sounds
from prototype_writers import PROCESSES, die_at, grow, limited, read_on

from earmark.export.bundle.manifest_file import describe_files
from earmark.export.prototypes.build import index_bundle
from earmark.export.prototypes.growth import merge_bundles, remove_clips
from earmark.runtime.bundle.open import read_manifest
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.opening import open_bundle

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of POSIX")


@pytest.fixture(scope="module")
def pair(tiny_bundle, tmp_path_factory):
    """Two bundles of one model with 9 and 6 sounds; the first searches in lists."""
    folder = tmp_path_factory.mktemp("pair")
    for name, takes, seed in (("a", 3, 0), ("b", 2, 5)):
        shutil.copytree(tiny_bundle, folder / name)
        data = write_sounds(folder / f"sounds {name}", takes=takes, seed=seed)
        index_bundle(folder / name, data, audio=True, exact_limit=50)
    return folder


def check_whole(bundle):
    """Everything that is in force agrees with itself; returns its number of sounds."""
    generation = open_generation(bundle, open_bundle(bundle, examine=True).manifest)
    for view in generation.views:
        queries = generation.index(view).vectors(0, 2)
        found = {generation.entry(view, match.entry).clip for match in generation.search(view, queries, 99)}
        assert len({generation.clip(row).source for row in found}) == generation.info.sources
    for clip in generation.all_clips():
        assert (generation.folder / "audio" / clip.audio).is_file()
    return generation.info.sources


def kill_at_random_moments(folder, pair, times, seed):
    shutil.copytree(pair / "a", folder / "a")
    bundle = folder / "a"
    moments = random.Random(seed)
    seen = set()
    for number in itertools.count():
        # On a busy machine a round takes longer, and more of them reach another moment.
        if number >= times and (len(seen) > 1 or number >= 6 * times):
            break
        started = PROCESSES.Condition()
        writer = PROCESSES.Process(target=grow, args=(bundle, pair / "b", started))
        with started:
            writer.start()
            assert started.wait(60)
        # A round takes half a second or so.
        time.sleep(moments.random() * 0.8 * max(1.0, number / times))
        assert writer.is_alive(), "the writer failed by itself"
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        seen.add((check_whole(bundle), len(list((bundle / "prototypes").glob(".building*"))) > 0))
    assert {sources for sources, _ in seen} <= {9, 14, 15}
    assert len(seen) > 1, "it was always the same moment"
    # The next writer goes on from there, and removes what the killed ones left.
    sources = merge_bundles(bundle, [pair / "b"]).sources
    assert sources in {14, 15}
    current = read_manifest(bundle).prototypes.generation
    left = {path.name for path in (bundle / "prototypes").iterdir()}
    assert max(left) == current
    assert not any(name.startswith(".building") for name in left)


def test_killed_at_random_moments(tmp_path, pair):
    kill_at_random_moments(tmp_path, pair, 6, 1)


@pytest.mark.slow
def test_killed_at_many_random_moments(tmp_path, pair):
    kill_at_random_moments(tmp_path, pair, 50, 2)


def test_killed_at_any_step_the_old_or_the_new_is_there(tmp_path, pair):
    steps = PROCESSES.Queue()
    # What is remembered of an examined bundle is one step less.
    open_bundle(pair / "b")

    def merge(name, step):
        shutil.copytree(pair / "a", tmp_path / name)
        writer = PROCESSES.Process(target=die_at, args=(tmp_path / name, pair / "b", step, steps))
        writer.start()
        writer.join(60)
        return tmp_path / name, writer.exitcode

    whole, exitcode = merge("whole", None)
    assert exitcode == 0
    assert check_whole(whole) == 15
    last = steps.get(timeout=10)
    found = []
    # The tables come first; the last steps rename the folder and replace the manifest.
    for step in (0, *range(last - 5, last)):
        bundle, exitcode = merge(f"killed {step}", step)
        assert exitcode == -signal.SIGKILL
        found.append(check_whole(bundle))
        assert merge_bundles(bundle, [pair / "b"]).sources == 15
        names = {path.name for path in (bundle / "prototypes").iterdir()}
        assert names == {"g0001", "g0002"}, "what the killed writer left is gone"
    assert found == sorted(found), "once the new one is in force, it stays"
    assert set(found) == {9, 15}


def test_readers_in_other_processes_see_old_or_new(tmp_path, pair):
    bundle = shutil.copytree(pair / "a", tmp_path / "a")
    stop, results = PROCESSES.Event(), PROCESSES.Queue()
    readers = [PROCESSES.Process(target=read_on, args=(bundle, stop, results)) for _ in range(2)]
    for reader in readers:
        reader.start()
    held = open_generation(bundle, read_manifest(bundle))
    queries = held.index("square").vectors(0, 2)
    before = held.search("square", queries, 9)
    in_force = {"g0001": 9}
    for _ in range(2):
        for report in (
            merge_bundles(bundle, [pair / "b"], exact_limit=50),
            remove_clips(bundle, ["noise/a5_0.wav"]),
            remove_clips(bundle, ["*/?5_*.wav"], rebuild_share=0.0, exact_limit=50),
        ):
            in_force[report.generation] = report.sources
    stop.set()
    seen = [results.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join(60)
    for one in seen:
        assert isinstance(one, dict), one
        assert one.items() <= in_force.items()
    remove_clips(bundle, ["noise/a0_0.wav"], purge=True)
    assert not held.folder.exists()
    assert held.search("square", queries, 9) == before, "a reader holds what it opened"


@pytest.mark.parametrize("limit", [0, 300, 3_000, 10_000])
def test_a_full_disk_leaves_the_old_index(tmp_path, pair, limit):
    """A limit on file sizes stands for the full disk: it needs no rights, and strikes at any file."""
    bundle = shutil.copytree(pair / "a", tmp_path / "a")
    before = describe_files(bundle)
    results = PROCESSES.Queue()
    arguments = (bundle, pair / "b", pair / "sounds b", limit, results)
    writer = PROCESSES.Process(target=limited, args=arguments)
    writer.start()
    answers = [results.get(timeout=120) for _ in range(4)]
    writer.join(60)
    for answer in answers:
        assert "the disk is full" in answer, answer
        assert "\n" not in answer
    assert describe_files(bundle) == before
    assert not list(Path(bundle).rglob(".building*"))
    assert check_whole(bundle) == 9
