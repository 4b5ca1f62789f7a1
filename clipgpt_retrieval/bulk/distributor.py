"""Distributors run workers on shards: one in this process, or those of a Spark cluster."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

from clipgpt_retrieval.bulk.job import Run, Shard
from clipgpt_retrieval.errors import InputError

TASKS_PER_SLOT = 8
"""Spark tasks for each slot of the cluster: more balance the load, fewer let a worker prefetch."""


class Distributor(Protocol):
    """Runs workers, and returns when all have ended."""

    def __call__(self, run: Run, shards: list[Shard]) -> None:
        """Processes the shards of a run."""


class SequentialDistributor:
    """One worker in this process."""

    def __call__(self, run: Run, shards: list[Shard]) -> None:
        from clipgpt_retrieval.bulk.worker import worker

        worker(run, shards)


class PysparkDistributor:
    """Workers on Spark: in the active session, else in one by ``spark-submit``'s or Spark's settings."""

    def __call__(self, run: Run, shards: list[Shard]) -> None:
        context = spark_context()
        tasks = min(len(shards), TASKS_PER_SLOT * context.defaultParallelism)
        context.parallelize(shards, tasks).foreachPartition(partial(_work_on_task, run))


def spark_context() -> Any:
    """The context of the active session of Spark, else of a new one.

    Raises:
        InputError: pyspark is not installed.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise InputError(
            "distribution_strategy", "pyspark is not installed: pip install 'clipgpt-retrieval[spark]'"
        ) from None
    # By default executors run the python3 that is first on their path, not this environment's.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # Spark's bar counts tasks and would overwrite ours, which counts rows.
    builder = SparkSession.builder.appName("clipgpt-retrieval").config("spark.ui.showConsoleProgress", "false")
    session = SparkSession.getActiveSession() or builder.getOrCreate()
    return session.sparkContext


def _work_on_task(run: Run, shards: Iterator[Shard]) -> None:
    """A Spark task, on the GPU that Spark assigned, or with as many threads as it has cores."""
    from pyspark import TaskContext

    from clipgpt_retrieval.bulk.worker import worker

    context = TaskContext.get()
    assert context is not None
    gpu = context.resources().get("gpu")
    worker(run, shards, device=None if gpu is None else f"cuda:{gpu.addresses[0]}", threads=context.cpus())
