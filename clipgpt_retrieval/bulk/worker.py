"""The worker, which every distributor runs: one process with one model that processes shards."""

from collections.abc import Iterable
from functools import lru_cache

import torch

from clipgpt_retrieval.bulk.job import Run, Shard
from clipgpt_retrieval.bulk.mapper import make_mapper
from clipgpt_retrieval.bulk.reader import open_reader
from clipgpt_retrieval.bulk.retry import retried
from clipgpt_retrieval.bulk.runner import Runner
from clipgpt_retrieval.bulk.stats import StatsWriter
from clipgpt_retrieval.engine import ClipGpt, load
from clipgpt_retrieval.errors import ModelError


def worker(run: Run, shards: Iterable[Shard], *, device: str | None = None, threads: int | None = None) -> None:
    """Processes shards, and writes a file of statistics into ``stats/``.

    Args:
        run: the run that the shards belong to.
        shards: those that are already done are skipped.
        device: instead of the job's.
        threads: of torch on the CPU; None: torch's default.

    Raises:
        ClipGptError: no model, another model than the driver's, or full storage.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    stats = StatsWriter(run)
    try:
        engine = _engine(run.job.model, run.model, device or run.job.device)
        reader = retried(lambda: open_reader(run.job), run.job.retries)
        Runner(run.job, reader, make_mapper(run.job, engine), stats)(shards)
    except BaseException as error:
        stats.stats.stopped = str(error) or type(error).__name__
        raise
    finally:
        stats.write()


@lru_cache(maxsize=1)
def _engine(path: str, fingerprint: str, device: str) -> ClipGpt:
    """The engine, loaded once in a process, however many tasks Spark runs in it."""
    engine = load(path, device=device)
    if engine.fingerprint != fingerprint:
        raise ModelError(f"{path} is another model on this machine than where the job was started: copy that one here")
    return engine
