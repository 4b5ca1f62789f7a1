"""The runner passes shards through reader, mapper and writer, and prefetches the next one."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from clipgpt_retrieval.bulk.job import Job, Shard
from clipgpt_retrieval.bulk.mapper import Mapper
from clipgpt_retrieval.bulk.reader import Reader
from clipgpt_retrieval.bulk.retry import StorageFullError, retried
from clipgpt_retrieval.bulk.rows import Rows
from clipgpt_retrieval.bulk.stats import StatsWriter
from clipgpt_retrieval.bulk.writer import ShardWriter, is_done


class Runner:
    """Processes shards one by one. One that fails is retried, then recorded and skipped.

    Args:
        job: the job.
        reader: of its collection.
        mapper: of its task.
        stats: of the worker.
    """

    def __init__(self, job: Job, reader: Reader, mapper: Mapper, stats: StatsWriter) -> None:
        self._job = job
        self._reader = reader
        self._mapper = mapper
        self._stats = stats

    def __call__(self, shards: Iterable[Shard]) -> None:
        """Processes the shards that are not done.

        Raises:
            StorageFullError: the output storage is full or read-only.
        """
        for shard, future in self._read_ahead(shards):
            try:
                started = time.perf_counter()
                rows = future.result()
                self._stats.stats.read_duration += time.perf_counter() - started
                if rows is not None:
                    retried(partial(self._process, shard, rows), self._job.retries)
            except StorageFullError:
                raise
            except Exception as error:  # one shard's failure must not stop the others
                self._stats.fail(shard, error)
            self._stats.update()

    def _read_ahead(self, shards: Iterable[Shard]) -> Iterator[tuple[Shard, "Future[Rows | None]"]]:
        """Shards with futures of their rows: while one is processed, the next is read."""
        with ThreadPoolExecutor(1) as pool:
            futures: deque[tuple[Shard, Future[Rows | None]]] = deque()
            for shard in shards:
                futures.append((shard, pool.submit(self._read, shard)))
                if len(futures) > 1:
                    yield futures.popleft()
            yield from futures

    def _read(self, shard: Shard) -> Rows | None:
        """The rows of a shard, or None if it is done."""

        def read() -> Rows | None:
            return None if is_done(self._job.output_folder, shard.name) else self._reader.read(shard)

        return retried(read, self._job.retries)

    def _process(self, shard: Shard, rows: Rows) -> None:
        stats = self._stats.stats
        before = stats.sample_count, stats.skipped_count
        writer = ShardWriter(self._job.output_folder, shard.name)
        try:
            started = time.perf_counter()
            for mapped in self._mapper(shard, rows):
                writer(mapped)
                stats.inference_duration += time.perf_counter() - started
                stats.sample_count += len(mapped.table)
                stats.skipped_count += mapped.skipped
                self._stats.update()
                started = time.perf_counter()
            writer.flush()
            stats.write_duration += time.perf_counter() - started
        except BaseException:
            stats.sample_count, stats.skipped_count = before
            raise
