"""What a worker did, in a file of its own in ``stats/``, and what all of them did together."""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

import fsspec

from clipgpt_retrieval.bulk.job import Run, Shard
from clipgpt_retrieval.bulk.reader import list_files
from clipgpt_retrieval.bulk.writer import STATS
from clipgpt_retrieval.storage import write_text

WRITE_INTERVAL = 2.0
"""Seconds between two writes of a worker that is at work."""


@dataclass
class WorkerStats:
    """What a worker has done so far; durations are in seconds, and named as clip-retrieval inference names them.

    Attributes:
        start_time: when it began, in seconds since 1970.
        end_time: when it last wrote this.
        read_duration: spent waiting for rows.
        inference_duration: spent in the model.
        write_duration: spent writing.
        sample_count: rows done, those of the shard at hand included.
        skipped_count: rows among them that could not be used.
        failed: shards given up, ``{"shard": name, "error": sentence}``.
        stopped: why the worker ended early, else None.
    """

    start_time: float = field(default_factory=time.time)
    end_time: float = 0.0
    read_duration: float = 0.0
    inference_duration: float = 0.0
    write_duration: float = 0.0
    sample_count: int = 0
    skipped_count: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    stopped: str | None = None


class StatsWriter:
    """Keeps a worker's statistics file up to date.

    Args:
        run: the file's name begins with its name.
    """

    def __init__(self, run: Run) -> None:
        self.stats = WorkerStats()
        self._url = f"{run.job.output_folder}/{STATS}/{run.name}_{uuid4().hex[:8]}.json"
        self._written = 0.0

    def fail(self, shard: Shard, error: Exception) -> None:
        """Notes a shard that was given up."""
        told = " ".join(str(error).split()) or type(error).__name__
        self.stats.failed.append({"shard": shard.name, "error": told})

    def update(self) -> None:
        """Writes the file if the last time is long enough ago."""
        if time.monotonic() - self._written > WRITE_INTERVAL:
            self.write()

    def write(self) -> None:
        """Writes the file; where that fails, the work goes on without it."""
        self.stats.end_time = time.time()
        self._written = time.monotonic()
        with suppress(OSError):
            write_text(self._url, json.dumps(asdict(self.stats)))


def read_stats(output_folder: str, run_name: str = "") -> list[dict[str, Any]]:
    """The statistics of all workers of a run, or of all runs."""
    fs, root = fsspec.core.url_to_fs(output_folder)
    fs.invalidate_cache()
    files = [file for file in list_files(fs, f"{root}/{STATS}") if file.endswith(".json")]
    return [json.loads(fs.cat_file(file)) for file in files if file.rsplit("/", 1)[-1].startswith(run_name)]
