"""Batching: requests run in a thread each, the model runs one batch at a time.

There is no batching window: an idle worker takes everything in the queue, and the next batch collects while it works.
Work of higher priority interrupts a batch wherever that yields: a text is encoded between two tokens of a beam search.
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, wait
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from clipgpt_retrieval.back.metrics import BATCH_ROWS, CANCELLED_REQUESTS, QUEUE_TIME, WAITING_ROWS
from clipgpt_retrieval.errors import BusyError

POLL_SECONDS = 0.2
"""How often a waiting request checks whether its client is still connected."""

AGING_SECONDS = 2.0
"""Work that has waited this much longer passes work of the next higher priority, so that none starves."""

YieldPoint = Callable[[], None]

_REASONS = {
    "deadline": "it exceeded the time limit of this server",
    "client_disconnected": "its client closed the connection",
}


@dataclass(frozen=True)
class Deadline:
    """How long a request may wait for its response.

    Attributes:
        at: on the clock of ``time.monotonic``.
        is_disconnected: whether the client is known to have closed the connection.
    """

    at: float = float("inf")
    is_disconnected: Callable[[], bool] = lambda: False

    def seconds_left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.at - time.monotonic())

    def expired(self) -> str | None:
        """Why the request is cancelled, as a key of `CANCELLED_REQUESTS`; None while it is not."""
        if self.seconds_left() == 0:
            return "deadline"
        return "client_disconnected" if self.is_disconnected() else None


UNLIMITED = Deadline()

CURRENT_DEADLINE: ContextVar[Deadline] = ContextVar("current_deadline", default=UNLIMITED)
"""The deadline of the request that the running thread works for."""


def check_deadline() -> None:
    """Cancels the current request once its `CURRENT_DEADLINE` has expired.

    Raises:
        BusyError: the deadline has passed, or the client has disconnected.
    """
    reason = CURRENT_DEADLINE.get().expired()
    if reason is not None:
        CANCELLED_REQUESTS.labels(reason).inc()
        raise BusyError(f"request cancelled: {_REASONS[reason]}")


@dataclass(frozen=True)
class WorkType:
    """A type of work.

    Attributes:
        name: label of its metrics.
        key: rows of equal keys may share a batch.
        priority: 0 runs before 1, and 1 before 2.
        max_rows: size of the largest batch.
        call: maps rows to as many results; calls its second argument wherever other work may run first, and passes on
            what that raises.
    """

    name: str
    key: Hashable
    priority: int
    max_rows: int
    call: Callable[[list[Any], YieldPoint], Sequence[Any]]


@dataclass(eq=False)
class _Job:
    """The rows of one caller. Its batches run one after the other, so that results arrive in order."""

    work: WorkType
    rows: Sequence[Any]
    since: float = field(default_factory=time.monotonic)
    taken: int = 0
    results: list[Any] = field(default_factory=list)
    is_cancelled: bool = False
    future: "Future[list[Any]]" = field(default_factory=Future)

    @property
    def rank(self) -> float:
        return self.since + self.work.priority * AGING_SECONDS

    def take(self, count: int) -> "_Part":
        start, self.taken = self.taken, min(len(self.rows), self.taken + count)
        return _Part(self, list(self.rows[start : self.taken]))

    def add(self, results: Sequence[Any]) -> None:
        self.results += results
        if len(self.results) == len(self.rows):
            self.future.set_result(self.results)


@dataclass(frozen=True)
class _Part:
    """The rows of a job in one batch."""

    job: _Job
    rows: list[Any]


class _CancelledError(Exception):
    """All jobs of a batch are cancelled."""


class Batcher:
    """Runs the work of many threads in batches, on one thread of its own.

    Args:
        max_waiting_rows: size of the queue. A caller that finds it empty is accepted with any number of rows.
    """

    def __init__(self, max_waiting_rows: int) -> None:
        self._max_waiting_rows = max_waiting_rows
        self._changed = threading.Condition()
        self._jobs: list[_Job] = []
        self._waiting_rows = 0
        self._worker: threading.Thread | None = None

    def run(self, work: WorkType, rows: Sequence[Any]) -> list[Any]:
        """The results of rows, which share batches with those of other callers.

        Raises:
            BusyError: the queue is full, or the caller's `CURRENT_DEADLINE` expired.
            Exception: what the work itself raised on these rows.
        """
        if not rows:
            return []
        deadline = CURRENT_DEADLINE.get()
        job = _Job(work, rows)
        self._enqueue(job)
        while not wait([job.future], timeout=min(POLL_SECONDS, deadline.seconds_left())).done:
            try:
                check_deadline()
            except BusyError:
                self._cancel(job)
                raise
        return job.future.result()

    def _enqueue(self, job: _Job) -> None:
        with self._changed:
            if self._waiting_rows and self._waiting_rows + len(job.rows) > self._max_waiting_rows:
                CANCELLED_REQUESTS.labels("queue_full").inc()
                raise BusyError("server overloaded: queue full, retry later")
            self._jobs.append(job)
            self._add_waiting(len(job.rows))
            # A server that forks after the app is created does not inherit the thread.
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="clipgpt-batches", daemon=True)
                self._worker.start()
            self._changed.notify()

    def _cancel(self, job: _Job) -> None:
        with self._changed:
            job.is_cancelled = True
            if job in self._jobs:
                self._jobs.remove(job)
                self._add_waiting(job.taken - len(job.rows))

    def _add_waiting(self, rows: int) -> None:
        self._waiting_rows += rows
        WAITING_ROWS.inc(rows)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
                batch = self._take(self._jobs)
            self._run_batch(batch)

    def _take(self, jobs: list[_Job]) -> list[_Part]:
        """The next batch of ``jobs``: the first by rank, and all that may share its batch."""
        work = min(jobs, key=lambda job: job.rank).work
        batch: list[_Part] = []
        free = work.max_rows
        for job in [job for job in jobs if job.work.key == work.key]:
            if free == 0:
                break
            part = job.take(free)
            free -= len(part.rows)
            batch.append(part)
            QUEUE_TIME.labels(work.name).observe(time.monotonic() - job.since)
            self._jobs.remove(job)
            if job.taken < len(job.rows):  # back to the end, so that small jobs do not wait for all of a large one
                job.since = time.monotonic()
                self._jobs.append(job)
        self._add_waiting(free - work.max_rows)
        BATCH_ROWS.labels(work.name).observe(work.max_rows - free)
        return batch

    def _run_batch(self, batch: list[_Part]) -> None:
        work = batch[0].job.work
        try:
            results = work.call([row for part in batch for row in part.rows], lambda: self._yield_point(batch))
        except _CancelledError:
            return
        except Exception as error:  # of any kind: its callers get it, and the worker continues
            if len(batch) == 1:
                self._fail(batch[0].job, error)
            else:
                for part in batch:  # so that the rows of one caller do not fail those of others
                    self._run_batch([part])
            return
        start = 0
        for part in batch:
            part.job.add(results[start : start + len(part.rows)])
            start += len(part.rows)

    def _fail(self, job: _Job, error: Exception) -> None:
        self._cancel(job)
        job.future.set_exception(error)

    def _yield_point(self, batch: list[_Part]) -> None:
        """Runs one batch of higher priority; ends the current one if all its jobs are cancelled."""
        if all(part.job.is_cancelled for part in batch):
            raise _CancelledError
        with self._changed:
            urgent = [job for job in self._jobs if job.work.priority < batch[0].job.work.priority]
            next_batch = self._take(urgent) if urgent else None
        if next_batch:
            self._run_batch(next_batch)
