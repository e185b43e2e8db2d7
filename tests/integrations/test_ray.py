"""Recordings on Ray: a cluster of two workers here, one of which is killed in the middle.

`pip install ".[cpu,ray,parquet]" pytest pytest-timeout`, then `pytest -m ray`.
"""

from functools import partial

import pytest
from planted import (
    OPTIONS,
    each_row_once_though_killed,
    found_by_workers,
    plant,
    what_ends_the_run_is_said,
    what_kills_its_worker_is_given_up,
)

from earmark.runtime.explainer import SHIPPED

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def ray():
    import ray

    with found_by_workers():
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.fixture
def search(ray):
    from earmark.integrations.ray import search

    return partial(search, workers=2)


def test_each_row_once_though_a_worker_is_killed(search, tmp_path):
    each_row_once_though_killed(search, tmp_path, "_Parts")


def test_what_kills_its_worker_is_given_up(search, tmp_path):
    what_kills_its_worker_is_given_up(search, tmp_path)


def test_what_ends_the_run_is_said(search, tmp_path):
    what_ends_the_run_is_said(search, tmp_path)


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
