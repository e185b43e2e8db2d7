"""Recordings on Spark: a cluster of two workers here, a process of which is killed in the middle.

`pip install ".[cpu,spark,parquet]" pytest pytest-timeout psutil`, a JRE, then `pytest -m spark`.
"""

import sys

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

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    with found_by_workers() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = (
            SparkSession.builder.master("local-cluster[2,1,512]")
            .config("spark.driver.memory", "512m")
            .config("spark.executor.memory", "512m")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .getOrCreate()
        )
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.fixture
def search(spark):
    from earmark.integrations.spark import search

    return search


@pytest.mark.parametrize(
    "whom",
    ["pyspark.daemon", "CoarseGrainedExecutorBackend"],
    ids=["a Python worker", "an executor"],
)
def test_each_row_once_though_a_process_is_killed(search, tmp_path, whom):
    each_row_once_though_killed(search, tmp_path, whom)


def test_what_kills_its_worker_is_given_up(search, tmp_path):
    what_kills_its_worker_is_given_up(search, tmp_path)


def test_what_ends_the_run_is_said(search, tmp_path):
    what_ends_the_run_is_said(search, tmp_path)


def test_a_function_for_ones_own_pipeline(spark, tmp_path):
    from earmark.integrations.spark import DETECTIONS, detect

    files = plant(tmp_path / "field", 2)
    frame = spark.createDataFrame([(file,) for file in files], "file string").repartition(2)
    found = frame.mapInPandas(detect(SHIPPED, "cpu", **OPTIONS), DETECTIONS).collect()
    assert sorted((row["file"], row["label"]) for row in found) == [(files[0], "bell"), (files[1], "clap")]
    assert all(row["evidence_s"] and len(row["evidence_s"][0]) == 2 for row in found)
