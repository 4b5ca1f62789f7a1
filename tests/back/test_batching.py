"""Batching: callers get their own results, urgent work runs first, a full queue refuses, cancelled work ends."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import wait_until

from clipgpt_retrieval.back.batching import CURRENT_DEADLINE, Batcher, Deadline, WorkType
from clipgpt_retrieval.errors import BusyError

MANY = 4096


class Recorder:
    """Work that doubles numbers and keeps its batches; it starts when it is released."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.started, self.released = threading.Event(), threading.Event()
        if not held:
            self.released.set()

    def work(self, name="double", priority=0, max_rows=8):
        return WorkType(name, (id(self), name), priority, max_rows, self)

    def __call__(self, rows, yield_point):
        self.batches.append(rows)
        self.started.set()
        while not self.released.wait(0.01):
            yield_point()
        if 13 in rows:
            raise ValueError("thirteen")
        return [2 * row for row in rows]


def run_with(batcher, work, rows, deadline):
    CURRENT_DEADLINE.set(deadline)
    return batcher.run(work, rows)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(20, 1000), max_size=12), max_size=10), st.integers(1, 9))
def test_each_caller_gets_its_own_results_in_order(asked, max_rows):
    recorder = Recorder()
    batcher, work = Batcher(MANY), recorder.work(max_rows=max_rows)
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda rows: batcher.run(work, rows), asked))
    assert results == [[2 * row for row in rows] for rows in asked]
    assert sorted(row for batch in recorder.batches for row in batch) == sorted(row for rows in asked for row in rows)
    assert all(len(batch) <= max_rows for batch in recorder.batches)


def test_rows_that_arrive_during_a_batch_form_the_next():
    recorder = Recorder(held=True)
    batcher, work = Batcher(MANY), recorder.work(max_rows=64)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(batcher.run, work, [0])
        recorder.started.wait(10)
        others = [pool.submit(batcher.run, work, [row]) for row in range(1, 9)]
        wait_until(lambda: len(batcher._jobs) == 8)
        recorder.released.set()
        assert [other.result() for other in [first, *others]] == [[2 * row] for row in range(9)]
    assert [len(batch) for batch in recorder.batches] == [1, 8]


def test_a_small_request_does_not_wait_for_all_of_a_large_one():
    recorder = Recorder(held=True)
    batcher, work = Batcher(MANY), recorder.work(max_rows=4)
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(batcher.run, work, list(range(20, 60)))
        recorder.started.wait(10)
        small = pool.submit(batcher.run, work, [1])
        wait_until(lambda: len(batcher._jobs) == 2)
        recorder.released.set()
        assert small.result() == [2] and large.result() == [2 * row for row in range(20, 60)]
    assert next(i for i, batch in enumerate(recorder.batches) if 1 in batch) <= 2


def test_urgent_work_interrupts_slow_work():
    slow, quick = Recorder(held=True), Recorder()
    batcher = Batcher(MANY)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(batcher.run, slow.work("beams", priority=2), [1])
        slow.started.wait(10)
        assert batcher.run(quick.work("encode", priority=0), [5]) == [10]
        assert not waiting.done()
        slow.released.set()
        assert waiting.result() == [2]


def test_an_error_of_one_caller_does_not_fail_others():
    recorder = Recorder(held=True)
    batcher, work = Batcher(MANY), recorder.work()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.run, work, [0])
        recorder.started.wait(10)
        wrong, right = pool.submit(batcher.run, work, [13]), pool.submit(batcher.run, work, [14])
        wait_until(lambda: len(batcher._jobs) == 2)
        recorder.released.set()
        assert first.result() == [0] and right.result() == [28]
        with pytest.raises(ValueError, match="thirteen"):
            wrong.result()
    assert batcher.run(work, [3]) == [6]


def test_a_full_queue_refuses_until_it_is_empty():
    recorder = Recorder(held=True)
    batcher, work = Batcher(3), recorder.work(max_rows=1)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.run, work, [0])
        recorder.started.wait(10)
        waiting = pool.submit(batcher.run, work, [1, 2, 3])
        wait_until(lambda: batcher._waiting_rows == 3)
        with pytest.raises(BusyError) as busy:
            batcher.run(work, [4])
        assert busy.value.retry_after >= 1
        recorder.released.set()
        assert first.result() == [0] and waiting.result() == [2, 4, 6]
    assert batcher.run(work, [4, 5, 6, 7]) == [8, 10, 12, 14]  # longer than the queue, but the queue is empty


@pytest.mark.parametrize("reason", ["deadline", "client_disconnected"])
def test_cancelled_work_ends(reason):
    recorder = Recorder(held=True)
    batcher, work = Batcher(MANY), recorder.work(max_rows=1)
    deadline = {
        "deadline": lambda: Deadline(time.monotonic() + 0.1),
        "client_disconnected": lambda: Deadline(is_disconnected=lambda: True),
    }[reason]
    with ThreadPoolExecutor(1) as pool:  # two rows: one in a batch, one in the queue
        cancelled = pool.submit(run_with, batcher, work, [0, 1], deadline())
        with pytest.raises(BusyError, match="cancelled"):
            cancelled.result()
    assert batcher._waiting_rows == 0
    recorder.released.set()  # its work is gone, and the next caller is served
    assert batcher.run(work, [2]) == [4]
    assert [1] not in recorder.batches
