"""Statistics of each worker, in a file in ``stats/``."""

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
"""Seconds between two writes of a running worker."""


@dataclass
class WorkerStats:
    """Statistics of a worker so far; durations are in seconds, and named as by clip-retrieval inference.

    Attributes:
        start_time: in seconds since 1970.
        end_time: of the last write.
        read_duration: waiting for rows.
        inference_duration: in the model.
        write_duration: writing files.
        sample_count: rows done, including those of the current shard.
        skipped_count: unusable rows among the input.
        failed: shards that failed, ``{"shard": name, "error": message}``.
        stopped: the error that ended the worker, else None.
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
    """Writes a worker's statistics file.

    Args:
        run: its name is the beginning of the file's name.
    """

    def __init__(self, run: Run) -> None:
        self.stats = WorkerStats()
        self._url = f"{run.job.output_folder}/{STATS}/{run.name}_{uuid4().hex[:8]}.json"
        self._written = 0.0

    def fail(self, shard: Shard, error: Exception) -> None:
        """Records a failed shard."""
        message = " ".join(str(error).split()) or type(error).__name__
        self.stats.failed.append({"shard": shard.name, "error": message})

    def update(self) -> None:
        """Writes the file at most every 2 seconds."""
        if time.monotonic() - self._written > WRITE_INTERVAL:
            self.write()

    def write(self) -> None:
        """Writes the file; a failure is ignored, as results do not depend on it."""
        self.stats.end_time = time.time()
        self._written = time.monotonic()
        with suppress(OSError):
            write_text(self._url, json.dumps(asdict(self.stats)))


def read_stats(output_folder: str, run_name: str = "") -> list[dict[str, Any]]:
    """The statistics of the workers of one run, or of all runs; damaged files are left out."""
    fs, root = fsspec.core.url_to_fs(output_folder)
    fs.invalidate_cache()
    files = [file for file in list_files(fs, f"{root}/{STATS}") if file.endswith(".json")]
    read = (_parsed(fs.cat_file(file)) for file in files if file.rsplit("/", 1)[-1].startswith(run_name))
    return [stats for stats in read if stats is not None]


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        stats = asdict(WorkerStats(**json.loads(content)))
    except (ValueError, TypeError):
        return None
    return stats if isinstance(stats["sample_count"], int) and isinstance(stats["skipped_count"], int) else None
