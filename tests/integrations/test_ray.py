"""Recordings on Ray: a cluster of two workers here, one of which is killed in the middle.

`pip install ".[cpu,ray,parquet]" pytest pytest-timeout`, then `pytest -m ray`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from planted import Deadly, check, killed_in_the_middle, plant, rows

from earmark.errors import WriteError
from earmark.integrations.parts import PartWork
from earmark.integrations.searching import Search
from earmark.runtime.explainer import SHIPPED

pytestmark = pytest.mark.ray

TESTS = str(Path(__file__).resolve().parents[1])
OPTIONS = {"min_score": 0.8, "methods": ["mask"]}


@pytest.fixture(scope="module")
def ray():
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # Actors unpickle what these tests define.
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
        )
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


def test_each_row_once_though_a_worker_is_killed(ray, tmp_path):
    from earmark.integrations.ray import search

    files = plant(tmp_path / "field", 8, seconds=60)
    out = tmp_path / "out"
    work = PartWork(Search(SHIPPED, "cpu", OPTIONS, 1, 1), str(out), counts_tries=True)
    thread, killed = killed_in_the_middle(out, "_Parts")
    answered = list(search(work, files, workers=2))
    thread.join(1)
    assert len(killed) == 1
    assert sorted(row.file for row in answered) == files
    assert check(out, files) == {"done": 8}
    assert [row["label"] for row in rows(out, "detections")][:3] == ["bell", "clap", "kick"]


def test_what_kills_its_worker_is_given_up(ray, tmp_path):
    from earmark.integrations.ray import search

    files = plant(tmp_path / "field", 3)
    poison, once = f"{tmp_path}/poison.wav", f"{tmp_path}/once.wav"
    for name in (poison, once):
        Path(name).write_bytes(Path(files[0]).read_bytes())
    every = [*files, poison, once]
    work = PartWork(Deadly(SHIPPED, "cpu", OPTIONS, 1, 1), str(tmp_path / "out"), counts_tries=True)
    answered = {row.file: row for row in search(work, every, workers=2)}
    assert answered[poison].error == "given up: ended its process 2 times"
    assert check(tmp_path / "out", every) == {"done": 4, "quarantined": 1}


def test_what_ends_the_run_is_said(ray, tmp_path):
    from earmark.integrations.ray import search

    files = plant(tmp_path / "field", 1)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(WriteError, match="cannot be read"):
        list(search(PartWork(Search(SHIPPED, "cpu", OPTIONS), str(tmp_path / "out")), files, workers=1))


def test_an_actor_of_ones_own_pipeline(ray, tmp_path):
    from earmark.integrations.ray import Detect

    files = plant(tmp_path / "field", 2)
    found = ray.data.from_items([{"file": file} for file in files]).map_batches(
        Detect,
        fn_constructor_kwargs={"bundle": SHIPPED, "device": "cpu", **OPTIONS},
        batch_format="pyarrow",
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    assert sorted((row["file"], row["label"]) for row in found.take_all()) == [
        (files[0], "bell"),
        (files[1], "clap"),
    ]
