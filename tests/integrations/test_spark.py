"""Recordings on Spark: a cluster of two workers here, a process of which is killed in the middle.

`pip install ".[cpu,spark,parquet]" pytest pytest-timeout psutil`, a JRE, then `pytest -m spark`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from planted import Deadly, check, killed_in_the_middle, plant, rows

from earmark.errors import WriteError
from earmark.integrations.parts import PartWork
from earmark.integrations.searching import Search
from earmark.runtime.explainer import SHIPPED

pytestmark = pytest.mark.spark

TESTS = str(Path(__file__).resolve().parents[1])
OPTIONS = {"min_score": 0.8, "methods": ["mask"]}


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
        )
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


@pytest.mark.parametrize(
    "whom",
    ["pyspark.daemon", "CoarseGrainedExecutorBackend"],
    ids=["a Python worker", "an executor"],
)
def test_each_row_once_though_a_process_is_killed(spark, tmp_path, whom):
    from earmark.integrations.spark import search

    files = plant(tmp_path / "field", 8, seconds=60)
    out = tmp_path / "out"
    work = PartWork(Search(SHIPPED, "cpu", OPTIONS, 1, 1), str(out), counts_tries=True)
    thread, killed = killed_in_the_middle(out, whom)
    answered = list(search(work, files))
    thread.join(1)
    assert len(killed) == 1
    assert sorted(row.file for row in answered) == files
    assert check(out, files) == {"done": 8}
    assert [row["label"] for row in rows(out, "detections")][:3] == ["bell", "clap", "kick"]


def test_what_kills_its_worker_is_given_up(spark, tmp_path):
    from earmark.integrations.spark import search

    files = plant(tmp_path / "field", 3)
    poison, once = f"{tmp_path}/poison.wav", f"{tmp_path}/once.wav"
    for name in (poison, once):
        Path(name).write_bytes(Path(files[0]).read_bytes())
    every = [*files, poison, once]
    work = PartWork(Deadly(SHIPPED, "cpu", OPTIONS, 1, 1), str(tmp_path / "out"), counts_tries=True)
    answered = {row.file: row for row in search(work, every)}
    assert answered[poison].error == "given up: ended its process 2 times"
    assert check(tmp_path / "out", every) == {"done": 4, "quarantined": 1}


def test_what_ends_the_run_is_said(spark, tmp_path):
    from earmark.integrations.spark import search

    files = plant(tmp_path / "field", 1)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(WriteError, match="cannot be read"):
        list(search(PartWork(Search(SHIPPED, "cpu", OPTIONS), str(tmp_path / "out")), files))


def test_a_function_for_ones_own_pipeline(spark, tmp_path):
    from earmark.integrations.spark import DETECTIONS, detect

    files = plant(tmp_path / "field", 2)
    frame = spark.createDataFrame([(file,) for file in files], "file string").repartition(2)
    found = frame.mapInPandas(detect(SHIPPED, "cpu", **OPTIONS), DETECTIONS).collect()
    assert sorted((row["file"], row["label"]) for row in found) == [(files[0], "bell"), (files[1], "clap")]
    assert all(row["evidence_s"] and len(row["evidence_s"][0]) == 2 for row in found)
