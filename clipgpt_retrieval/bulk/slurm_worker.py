"""The program of each task of a SLURM job: ``python -m clipgpt_retrieval.bulk.slurm_worker SHARDS``."""

import json
import os
import sys

import fsspec

from clipgpt_retrieval.bulk.job import Job, Run, Shard
from clipgpt_retrieval.bulk.worker import worker
from clipgpt_retrieval.errors import ClipGptError


def slurm_worker(shards_url: str) -> None:
    """Processes every ``SLURM_NTASKS``-th shard, from the ``SLURM_PROCID``-th on."""
    with fsspec.open(shards_url, "r") as file:
        document = json.load(file)
    rank, tasks = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
    shards = [Shard.from_dict(values) for values in document["shards"][rank::tasks]]
    run = Run(Job(**document["job"]), document["name"], document["model"])
    cores = os.environ.get("SLURM_CPUS_PER_TASK")
    worker(run, shards, threads=None if cores is None else int(cores))


if __name__ == "__main__":
    try:
        slurm_worker(sys.argv[1])
    except ClipGptError as error:
        sys.exit(f"clipgpt-retrieval: {error}")
