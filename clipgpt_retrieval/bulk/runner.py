"""The runner takes units through reader, mapper and writer, and reads the next one's rows meanwhile."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from clipgpt_retrieval.bulk.job import Job, Unit
from clipgpt_retrieval.bulk.mapper import Mapper
from clipgpt_retrieval.bulk.reader import Reader, Rows
from clipgpt_retrieval.bulk.retry import StorageFullError, retried
from clipgpt_retrieval.bulk.stats import StatsWriter
from clipgpt_retrieval.bulk.writer import UnitWriter, is_done


class Runner:
    """Does units one by one. One that fails is tried again, then noted and left.

    Args:
        job: what to do.
        reader: of its collection.
        mapper: of its task.
        stats: where to note what was done.
    """

    def __init__(self, job: Job, reader: Reader, mapper: Mapper, stats: StatsWriter) -> None:
        self._job = job
        self._reader = reader
        self._mapper = mapper
        self._stats = stats

    def __call__(self, units: Iterable[Unit]) -> None:
        """Does those of the units that nobody has done.

        Raises:
            StorageFullError: the output has no room left.
        """
        for unit, coming in self._read_ahead(units):
            try:
                started = time.perf_counter()
                rows = coming.result()
                self._stats.stats.read_duration += time.perf_counter() - started
                if rows is not None:
                    retried(partial(self._do, unit, rows), self._job.retries)
            except StorageFullError:
                raise
            except Exception as error:  # whatever a unit dies of, the others are done
                self._stats.fail(unit, error)
            self._stats.update()

    def _read_ahead(self, units: Iterable[Unit]) -> Iterator[tuple[Unit, "Future[Rows | None]"]]:
        """Units with their rows to come: while one is worked on, the next is read."""
        with ThreadPoolExecutor(1) as pool:
            coming: deque[tuple[Unit, Future[Rows | None]]] = deque()
            for unit in units:
                coming.append((unit, pool.submit(self._read, unit)))
                if len(coming) > 1:
                    yield coming.popleft()
            yield from coming

    def _read(self, unit: Unit) -> Rows | None:
        """The rows of a unit, or None where it is done."""

        def read() -> Rows | None:
            return None if is_done(self._job.output_folder, unit.name) else self._reader.read(unit)

        return retried(read, self._job.retries)

    def _do(self, unit: Unit, rows: Rows) -> None:
        stats = self._stats.stats
        before = stats.sample_count, stats.skipped_count
        writer = UnitWriter(self._job.output_folder, unit.name)
        try:
            started = time.perf_counter()
            for mapped in self._mapper(unit, rows):
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
