"""A real Spark cluster of two executors writes the same files, also when one of them is killed."""

import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from bulk_helpers import contents, report, some_texts, write_lines
from support import unit_rows

from clipgpt_retrieval.bulk.distributor import PysparkDistributor, SequentialDistributor
from clipgpt_retrieval.bulk.main import run_job
from clipgpt_retrieval.errors import DataError

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java, which is not installed"),
]


@pytest.fixture(scope="module")
def cluster():
    """A driver, two executors of one core, each a JVM of its own with its own Python worker."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.executorEnv.OMP_NUM_THREADS", "1")
        .getOrCreate()
    )
    yield session
    session.stop()


def executors() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("CoarseGrainedExecutorBackend" in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_spark_and_sequential_write_identical_files(cluster, encode_job, caption_job, tmp_path):
    write_lines(encode_job.source, some_texts(200))
    Path(caption_job.source).mkdir()
    np.save(Path(caption_job.source) / "all.npy", unit_rows(60))
    for job in (encode_job, caption_job):
        alone, together = (replace(job, output_folder=str(tmp_path / f"{job.task}_{how}")) for how in ("alone", "two"))
        run_job(alone, SequentialDistributor())
        result = run_job(together, PysparkDistributor())
        assert result["failed"] == []
        assert contents(together.output_folder) == contents(alone.output_folder)
        assert len(list((Path(together.output_folder) / "stats").glob("*.json"))) > 1


def test_a_killed_executor_changes_no_result(cluster, encode_job, tmp_path):
    write_lines(encode_job.source, some_texts(600))
    alone = replace(encode_job, output_folder=str(tmp_path / "alone"))
    run_job(alone, SequentialDistributor())
    killed: list[int] = []

    def kill_a_busy_one() -> None:
        metadata = Path(encode_job.output_folder) / "metadata"
        for _ in range(3000):
            if metadata.is_dir() and any(metadata.iterdir()):
                victim = executors()[0]
                victim.kill()
                killed.append(victim.pid)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_a_busy_one)
    killer.start()
    result = run_job(encode_job, PysparkDistributor())
    killer.join()
    assert killed and result["failed"] == []
    assert contents(encode_job.output_folder) == contents(alone.output_folder)


def test_a_damaged_file_is_reported_by_the_driver(cluster, caption_job):
    folder = Path(caption_job.source)
    folder.mkdir()
    for name in "abc":
        np.save(folder / f"{name}.npy", unit_rows(14))
    with (folder / "b.npy").open("r+b") as file:
        file.truncate(128 + 8 * 64 * 4)
    with pytest.raises(DataError, match=r"^1 of the files and shards of .*b.npy ends before row 13"):
        run_job(caption_job, PysparkDistributor())
    assert report(caption_job.output_folder)["rows_done"] == 35
