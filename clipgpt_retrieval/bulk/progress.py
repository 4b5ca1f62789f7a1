"""The progress bar of a job, read from the statistics files of its workers, wherever they run."""

import threading
from contextlib import suppress
from types import TracebackType

from tqdm import tqdm

from clipgpt_retrieval.bulk.job import Run
from clipgpt_retrieval.bulk.stats import WRITE_INTERVAL, read_stats


class Progress:
    """A bar over all rows of a job during one run.

    Args:
        run: the run.
        total: rows of the job.
        done: rows of earlier runs.
    """

    def __init__(self, run: Run, total: int, done: int) -> None:
        self._run = run
        self._done = done
        self._bar = tqdm(total=total, initial=done, unit="row", unit_scale=True, desc=run.job.task, disable=None)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._bar.close()

    def _watch(self) -> None:
        while not self._ended.wait(WRITE_INTERVAL):
            self._show()
        self._show()

    def _show(self) -> None:
        # A file that is just being replaced, or storage that fails once: the next update corrects it.
        with suppress(OSError, ValueError):
            counted = sum(stats["sample_count"] for stats in read_stats(self._run.job.output_folder, self._run.name))
            self._bar.update(self._done + counted - self._bar.n)
