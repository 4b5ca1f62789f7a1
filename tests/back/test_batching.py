"""Batching: nobody gets another's answer, the urgent go first, a full queue says so, and what nobody wants ends."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.back.batching import CURRENT_DEADLINE, Batcher, Deadline, WorkType
from clipgpt_retrieval.errors import BusyError

MANY = 4096


class Recorder:
    """Work that doubles numbers and keeps its batches; it begins when it is let go."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        if not held:
            self.go.set()

    def work(self, name="double", priority=0, max_rows=8):
        return WorkType(name, (id(self), name), priority, max_rows, self)

    def __call__(self, rows, yield_point):
        self.batches.append(rows)
        self.begun.set()
        while not self.go.wait(0.01):
            yield_point()
        if 13 in rows:
            raise ValueError("thirteen")
        return [2 * row for row in rows]


def until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def run_with(batcher, work, rows, deadline):
    CURRENT_DEADLINE.set(deadline)
    return batcher.run(work, rows)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(20, 1000), max_size=12), max_size=10), st.integers(1, 9))
def test_each_caller_gets_its_own_answers_in_order(asked, max_rows):
    recorder = Recorder()
    batcher, work = Batcher(MANY), recorder.work(max_rows=max_rows)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda rows: batcher.run(work, rows), asked))
    assert answers == [[2 * row for row in rows] for rows in asked]
    assert sorted(row for batch in recorder.batches for row in batch) == sorted(row for rows in asked for row in rows)
    assert all(len(batch) <= max_rows for batch in recorder.batches)


def test_what_gathers_while_a_batch_is_worked_on_is_the_next_batch():
    recorder = Recorder(held=True)
    batcher, work = Batcher(MANY), recorder.work(max_rows=64)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(batcher.run, work, [0])
        recorder.begun.wait(10)
        others = [pool.submit(batcher.run, work, [row]) for row in range(1, 9)]
        until(lambda: len(batcher._jobs) == 8)
        recorder.go.set()
        assert [other.result() for other in [first, *others]] == [[2 * row] for row in range(9)]
    assert [len(batch) for batch in recorder.batches] == [1, 8]


def test_a_large_request_does_not_keep_a_small_one_waiting_to_its_end():
    recorder = Recorder(held=True)
    batcher, work = Batcher(MANY), recorder.work(max_rows=4)
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(batcher.run, work, list(range(20, 60)))
        recorder.begun.wait(10)
        small = pool.submit(batcher.run, work, [1])
        until(lambda: len(batcher._jobs) == 2)
        recorder.go.set()
        assert small.result() == [2] and large.result() == [2 * row for row in range(20, 60)]
    assert next(i for i, batch in enumerate(recorder.batches) if 1 in batch) <= 2


def test_urgent_work_is_done_while_slow_work_is_under_way():
    slow, quick = Recorder(held=True), Recorder()
    batcher = Batcher(MANY)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(batcher.run, slow.work("beams", priority=2), [1])
        slow.begun.wait(10)
        assert batcher.run(quick.work("encode", priority=0), [5]) == [10]
        assert not waiting.done()
        slow.go.set()
        assert waiting.result() == [2]


def test_one_callers_fault_fails_no_other():
    recorder = Recorder(held=True)
    batcher, work = Batcher(MANY), recorder.work()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.run, work, [0])
        recorder.begun.wait(10)
        wrong, right = pool.submit(batcher.run, work, [13]), pool.submit(batcher.run, work, [14])
        until(lambda: len(batcher._jobs) == 2)
        recorder.go.set()
        assert first.result() == [0] and right.result() == [28]
        with pytest.raises(ValueError, match="thirteen"):
            wrong.result()
    assert batcher.run(work, [3]) == [6]


def test_a_full_queue_refuses_and_takes_again_once_it_is_empty():
    recorder = Recorder(held=True)
    batcher, work = Batcher(3), recorder.work(max_rows=1)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.run, work, [0])
        recorder.begun.wait(10)
        waiting = pool.submit(batcher.run, work, [1, 2, 3])
        until(lambda: batcher._waiting_rows == 3)
        with pytest.raises(BusyError) as busy:
            batcher.run(work, [4])
        assert busy.value.retry_after >= 1
        recorder.go.set()
        assert first.result() == [0] and waiting.result() == [2, 4, 6]
    assert batcher.run(work, [4, 5, 6, 7]) == [8, 10, 12, 14]  # more than may wait, but nobody waits before


@pytest.mark.parametrize("reason", ["deadline", "client_disconnected"])
def test_work_that_nobody_waits_for_any_longer_ends(reason):
    recorder = Recorder(held=True)
    batcher, work = Batcher(MANY), recorder.work(max_rows=1)
    deadline = {
        "deadline": lambda: Deadline(time.monotonic() + 0.1),
        "client_disconnected": lambda: Deadline(is_disconnected=lambda: True),
    }[reason]
    with ThreadPoolExecutor(1) as pool:  # two rows: one is worked on and one waits
        given_up = pool.submit(run_with, batcher, work, [0, 1], deadline())
        with pytest.raises(BusyError, match="cancelled"):
            given_up.result()
    assert batcher._waiting_rows == 0
    recorder.go.set()  # nothing is left to do for it, and the next caller is served
    assert batcher.run(work, [2]) == [4]
    assert [1] not in recorder.batches
