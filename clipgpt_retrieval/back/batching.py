"""Batching: what stands between requests, a thread each, and a model that works on one batch at a time.

There is no window to wait for: a free worker takes all that waits, and while it works the next batch gathers. A lone
request therefore waits for nobody. More urgent work goes first even while a batch is under way, whenever its work
pauses: a text is encoded between two tokens of somebody else's beam search.
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

LOOK_SECONDS = 0.2
"""How often a waiting request looks whether its client is still there."""

HEAD_START_SECONDS = 2.0
"""How much earlier a step of priority makes work count as having come, so that no work waits for ever."""

YieldPoint = Callable[[], None]

_REASONS = {
    "deadline": "it took longer than this server lets a request take",
    "client_disconnected": "its client closed the connection",
}


@dataclass(frozen=True)
class Deadline:
    """How long somebody waits for an answer.

    Attributes:
        deadline: on the clock of ``time.monotonic``.
        has_left: whether the client is known to have gone.
    """

    deadline: float = float("inf")
    has_left: Callable[[], bool] = lambda: False

    def seconds_left(self) -> float:
        """Until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def ends(self) -> str | None:
        """Why nobody waits any longer, or None while somebody does."""
        if self.seconds_left() == 0:
            return "deadline"
        return "client_disconnected" if self.has_left() else None


UNLIMITED = Deadline()

CURRENT_DEADLINE: ContextVar[Deadline] = ContextVar("current_deadline", default=UNLIMITED)
"""The deadline of whoever the running thread works for."""


def check_deadline() -> None:
    """Ends a wait for which there is no `CURRENT_DEADLINE` any longer.

    Raises:
        BusyError: the deadline has passed, or the client has gone.
    """
    reason = CURRENT_DEADLINE.get().ends()
    if reason is not None:
        CANCELLED_REQUESTS.labels(reason).inc()
        raise BusyError(f"this request was given up: {_REASONS[reason]}")


@dataclass(frozen=True)
class WorkType:
    """A kind of work.

    Attributes:
        name: what the metrics call it.
        key: rows of equal keys may share a batch.
        priority: 0 goes before 1, and 1 before 2.
        max_rows: largest batch.
        call: rows to as many answers; calls its second argument wherever others may go first, and lets
            through what that raises.
    """

    name: str
    key: Hashable
    priority: int
    max_rows: int
    call: Callable[[list[Any], YieldPoint], Sequence[Any]]


@dataclass(eq=False)
class _Job:
    """Rows that one caller waits for. Its batches are worked on in turn, so that answers come in order."""

    work: WorkType
    rows: Sequence[Any]
    since: float = field(default_factory=time.monotonic)
    taken: int = 0
    answers: list[Any] = field(default_factory=list)
    is_abandoned: bool = False
    future: "Future[list[Any]]" = field(default_factory=Future)

    @property
    def rank(self) -> float:
        return self.since + self.work.priority * HEAD_START_SECONDS

    def take(self, count: int) -> "_Part":
        start, self.taken = self.taken, min(len(self.rows), self.taken + count)
        return _Part(self, list(self.rows[start : self.taken]))

    def add(self, answers: Sequence[Any]) -> None:
        self.answers += answers
        if len(self.answers) == len(self.rows):
            self.future.set_result(self.answers)


@dataclass(frozen=True)
class _Part:
    """The rows of a job that go into one batch."""

    job: _Job
    rows: list[Any]


class _AbandonedError(Exception):
    """Nobody waits for this batch any longer."""


class Batcher:
    """Works on what many threads ask for, in batches, on one thread of its own.

    Args:
        max_waiting_rows: rows that may wait; a caller beyond them is refused. One that nobody waits before is
            always let in, however many rows it brings.
    """

    def __init__(self, max_waiting_rows: int) -> None:
        self._max_waiting_rows = max_waiting_rows
        self._changed = threading.Condition()
        self._jobs: list[_Job] = []
        self._waiting_rows = 0
        self._worker: threading.Thread | None = None

    def run(self, work: WorkType, rows: Sequence[Any]) -> list[Any]:
        """The answers to rows, which share batches with those of other callers.

        Raises:
            BusyError: too many rows wait, or the caller's `CURRENT_DEADLINE` ended first.
            Exception: what the work itself raised on these rows.
        """
        if not rows:
            return []
        deadline = CURRENT_DEADLINE.get()
        job = _Job(work, rows)
        self._enqueue(job)
        while not wait([job.future], timeout=min(LOOK_SECONDS, deadline.seconds_left())).done:
            try:
                check_deadline()
            except BusyError:
                self._abandon(job)
                raise
        return job.future.result()

    def _enqueue(self, job: _Job) -> None:
        with self._changed:
            if self._waiting_rows and self._waiting_rows + len(job.rows) > self._max_waiting_rows:
                CANCELLED_REQUESTS.labels("queue_full").inc()
                raise BusyError("this server has more waiting than it takes on: ask again in a moment")
            self._jobs.append(job)
            self._add_waiting(len(job.rows))
            # A server that forks after the app was made leaves the thread behind.
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="clipgpt-batches", daemon=True)
                self._worker.start()
            self._changed.notify()

    def _abandon(self, job: _Job) -> None:
        with self._changed:
            job.is_abandoned = True
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
        """The next batch of ``jobs``, with all that may share it."""
        work = min(jobs, key=lambda job: job.rank).work
        batch: list[_Part] = []
        room = work.max_rows
        for job in [job for job in jobs if job.work.key == work.key]:
            if room == 0:
                break
            part = job.take(room)
            room -= len(part.rows)
            batch.append(part)
            QUEUE_TIME.labels(work.name).observe(time.monotonic() - job.since)
            self._jobs.remove(job)
            if job.taken < len(job.rows):  # it has had its turn: small ones need not wait for all of it
                job.since = time.monotonic()
                self._jobs.append(job)
        self._add_waiting(room - work.max_rows)
        BATCH_ROWS.labels(work.name).observe(work.max_rows - room)
        return batch

    def _run_batch(self, batch: list[_Part]) -> None:
        work = batch[0].job.work
        try:
            answers = work.call([row for part in batch for row in part.rows], lambda: self._yield_point(batch))
        except _AbandonedError:
            return
        except Exception as error:  # whatever it is, those who asked hear of it, and the next batch is worked on
            if len(batch) == 1:
                self._fail(batch[0].job, error)
            else:
                for part in batch:  # so that one caller's rows fail no other's
                    self._run_batch([part])
            return
        start = 0
        for part in batch:
            part.job.add(answers[start : start + len(part.rows)])
            start += len(part.rows)

    def _fail(self, job: _Job, error: Exception) -> None:
        self._abandon(job)
        job.future.set_exception(error)

    def _yield_point(self, batch: list[_Part]) -> None:
        """Lets one more urgent batch go first; ends the work where nobody waits for it."""
        if all(part.job.is_abandoned for part in batch):
            raise _AbandonedError
        with self._changed:
            urgent = [job for job in self._jobs if job.work.priority < batch[0].job.work.priority]
            next_batch = self._take(urgent) if urgent else None
        if next_batch:
            self._run_batch(next_batch)
