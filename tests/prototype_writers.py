"""What writers and readers of prototypes do in processes of their own.

A module that a child can import by name: test files have none when pytest is started from elsewhere.
"""

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

from earmark.errors import BundleError
from earmark.export.prototypes.build import index_bundle
from earmark.export.prototypes.growth import merge_bundles, remove_clips
from earmark.runtime.bundle.open import read_manifest
from earmark.runtime.methods.prototypes.generation import open_generation

# Processes that have imported everything already, and no threads.
PROCESSES = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
PROCESSES.set_forkserver_preload(["earmark.export.prototypes.growth", "earmark.runtime.explainer"])


def grow(bundle, other, started):
    """Merge, remove by tombstones, remove by writing anew, over and over: 9, 15, 14, 9 sounds."""
    with started:
        started.notify()
    while True:
        merge_bundles(bundle, [other], exact_limit=50)
        remove_clips(bundle, ["noise/a5_0.wav"])
        remove_clips(bundle, ["*/?5_*.wav"], rebuild_share=0.0, prune=True, exact_limit=50)


def die_at(bundle, other, step, steps):
    """Merge, and be killed at the step-th call that brings something to the disk or into its place."""
    done = 0

    def dying(function):
        def call(*args, **kwargs):
            nonlocal done
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return function(*args, **kwargs)

        return call

    os.fsync, Path.rename, Path.replace = dying(os.fsync), dying(Path.rename), dying(Path.replace)
    merge_bundles(bundle, [other], exact_limit=50)
    steps.put(done)


def read_on(bundle, stop, results):
    """Open and search whatever is in force, again and again."""
    seen = {}
    try:
        while not stop.is_set():
            generation = open_generation(bundle, read_manifest(bundle))
            queries = generation.index("time").vectors(0, 2)
            matches = generation.search("time", queries, 99)
            assert len(matches) == generation.info.sources
            seen[generation.folder.name] = generation.info.sources
            time.sleep(0.005)
        results.put(seen)
    except BaseException as error:
        results.put(f"{type(error).__name__}: {error}")


def limited(bundle, other, data, limit, results):
    """Merge, index and remove while no file may grow past `limit` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for act in (
        lambda: merge_bundles(bundle, [other], exact_limit=50),
        lambda: index_bundle(bundle, data, exact_limit=50),
        lambda: remove_clips(bundle, ["noise/*"], purge=True, exact_limit=50),
        lambda: remove_clips(bundle, ["noise/*"], rebuild_share=0.9),
    ):
        try:
            results.put(act().generation)
        except BundleError as error:
            results.put(str(error))
        except BaseException as error:
            results.put(f"unexpected {type(error).__name__}: {error}")
