"""A worker does shards in a process of its own with one model; every distributor calls this one."""

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
    """Does shards, and leaves a file in ``stats/``.

    Args:
        run: what the shards belong to.
        shards: those of them that are done already are passed over.
        device: instead of the job's.
        threads: for torch on the CPU; None leaves it to torch.

    Raises:
        ClipGptError: nothing can be done here: no model, another model than the run was started with, no room.
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
    """The model at work: loaded once in a process, however many tasks Spark gives it."""
    engine = load(path, device=device)
    if engine.fingerprint != fingerprint:
        raise ModelError(f"{path} holds another model here than where the job was started: copy that one here")
    return engine
