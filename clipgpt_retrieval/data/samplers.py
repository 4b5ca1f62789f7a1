"""Samplers: the order in which training reads a collection, decided by the seed and resumable at any sample.

A collection is cut into windows that fit in memory. An epoch visits the windows in a shuffled order and the rows of
each window in a shuffled order, so that the state of a sampler is three numbers whatever the size of the collection.
Windows of the same file, which are cheapest to read one after the other, are shuffled as a group.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from clipgpt_retrieval.errors import DataError

MAX_DRAW = 2**31


class Window(Protocol):
    """Rows in memory."""

    def __len__(self) -> int:
        """Number of rows."""

    def sample(self, row: int, draw: int) -> Any:
        """A row as training reads it; ``draw`` makes its random choices, such as which caption."""


class Windows(Protocol):
    """A collection, cut into windows."""

    name: str
    group: int
    """Number of consecutive windows that come from about one file."""

    def __len__(self) -> int:
        """Number of windows."""

    def read(self, number: int) -> Window:
        """One of the windows."""


class InMemory:
    """A collection of one window."""

    group = 1

    def __init__(self, window: Window, name: str) -> None:
        self.window, self.name = window, name

    def __len__(self) -> int:
        return 1

    def read(self, number: int) -> Window:
        """The window itself."""
        return self.window


class ShuffledSampler:
    """An endless stream of samples that visits each row once an epoch.

    Args:
        windows: the collection.
        seed: of the order and of each sample's draw.
    """

    def __init__(self, windows: Windows, seed: int) -> None:
        self.windows, self.seed = windows, seed
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="windows")
        self._ahead: tuple[int, Future[Window]] | None = None
        self.restore([0, 0, 0])

    @property
    def state(self) -> list[int]:
        """Epoch, position of the window in the epoch and position of the row in the window, of the next sample."""
        return [self._epoch, self._visit, self._row]

    def restore(self, state: Sequence[int]) -> None:
        """Resumes from the state of a sampler of the same collection and seed."""
        self._epoch, self._visit, self._row = state
        self._window: Window | None = None
        self._empty_visits = 0

    def take(self, count: int) -> list[Any]:
        """The next ``count`` samples.

        Raises:
            DataError: the collection has no samples.
        """
        samples: list[Any] = []
        while len(samples) < count:
            window, order, draws = self._open()
            rows = order[self._row : self._row + count - len(samples)]
            samples += [window.sample(int(row), int(draws[row])) for row in rows]
            self._row += len(rows)
            if self._row == len(order):
                self._advance(len(order))
        return samples

    def _open(self) -> tuple[Window, np.ndarray, np.ndarray]:
        """The current window, the order of its rows and the draw of each."""
        if self._window is None:
            self._window = self._read(self._number(self._epoch, self._visit))
            random = np.random.default_rng([self.seed, self._epoch, self._visit, 1])
            self._order = random.permutation(len(self._window))
            self._draws = random.integers(MAX_DRAW, size=len(self._window))
        return self._window, self._order, self._draws

    def _advance(self, rows: int) -> None:
        """Moves on from a window that had ``rows`` rows."""
        self._empty_visits = 0 if rows else self._empty_visits + 1
        # Twice, as only so many visits in a row are sure to contain a whole epoch.
        if self._empty_visits == 2 * len(self.windows):
            raise DataError(f"{self.windows.name}: no row can be trained on: check its captions")
        self._epoch, self._visit = self._next_visit()
        self._row, self._window = 0, None

    def _next_visit(self) -> tuple[int, int]:
        last = self._visit + 1 == len(self.windows)
        return (self._epoch + 1, 0) if last else (self._epoch, self._visit + 1)

    def _number(self, epoch: int, visit: int) -> int:
        """Which window an epoch visits at a position."""
        random, count = np.random.default_rng([self.seed, epoch]), len(self.windows)
        rank_of_group = np.argsort(random.permutation(-(-count // self.windows.group)))
        ranks = rank_of_group[np.arange(count) // self.windows.group]  # [count]
        return int(np.lexsort((random.random(count), ranks))[visit])

    def _read(self, number: int) -> Window:
        """A window; the next one is read in the background."""
        if len(self.windows) == 1:
            return self.windows.read(number)
        known, pending = self._ahead or (None, None)
        window = pending.result() if pending is not None and known == number else self.windows.read(number)
        following = self._number(*self._next_visit())
        self._ahead = (following, self._reader.submit(self.windows.read, following))
        return window


class MixtureSampler:
    """Samples of several collections, drawn by weight.

    Args:
        parts: a sampler for each collection.
        weights: relative share of each collection, positive.
        seed: of the draws.
    """

    def __init__(self, parts: Sequence[ShuffledSampler], weights: Sequence[float], seed: int) -> None:
        self.parts, self.seed = list(parts), seed
        self._shares = np.asarray(weights, float) / sum(weights)

    @property
    def state(self) -> list[list[int]]:
        """The state of each part."""
        return [part.state for part in self.parts]

    def restore(self, state: Sequence[Sequence[int]]) -> None:
        """Resumes from the state of a sampler of the same collections."""
        for part, of_part in zip(self.parts, state, strict=True):
            part.restore(of_part)

    def take(self, step: int, count: int) -> list[Any]:
        """The samples of a step.

        Raises:
            DataError: one of the collections has no samples.
        """
        if len(self.parts) == 1:
            return self.parts[0].take(count)
        chosen = np.random.default_rng([self.seed, step]).choice(len(self.parts), size=count, p=self._shares)
        taken = [iter(part.take(int((chosen == i).sum()))) for i, part in enumerate(self.parts)]
        return [next(taken[part]) for part in chosen]
