"""The order in which a run reads: decided by the seed alone, and taken up again at any place.

What is read is cut into windows, each small enough to lie in memory. An epoch reads the windows in a shuffled order and
the rows of each in a shuffled order, so that the place in an epoch is three numbers however long it is. Windows of one
file, which are cheapest read together, are shuffled as a group.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from clipgpt_retrieval.errors import DataError

LARGEST_DRAW = 2**31


class Window(Protocol):
    """Rows that lie in memory together."""

    def __len__(self) -> int:
        """How many rows."""

    def sample(self, row: int, draw: int) -> Any:
        """A row as training reads it; ``draw`` decides what is to be decided, such as which of its captions."""


class Windows(Protocol):
    """A collection, cut into windows."""

    name: str
    group: int
    """So many windows after each other come of about one file."""

    def __len__(self) -> int:
        """How many windows."""

    def read(self, number: int) -> Window:
        """One of them."""


class InMemory:
    """A collection that is one window."""

    group = 1

    def __init__(self, window: Window, name: str) -> None:
        self.window, self.name = window, name

    def __len__(self) -> int:
        return 1

    def read(self, number: int) -> Window:
        """The window itself."""
        return self.window


class ShuffledSampler:
    """Samples of a collection without an end, each row once an epoch.

    Args:
        windows: the collection.
        seed: decides the order and the draws.
    """

    def __init__(self, windows: Windows, seed: int) -> None:
        self.windows, self.seed = windows, seed
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="windows")
        self._ahead: tuple[int, Future[Window]] | None = None
        self.restore([0, 0, 0])

    @property
    def state(self) -> list[int]:
        """Epoch, window and row that come next."""
        return [self._epoch, self._turn, self._place]

    def restore(self, state: Sequence[int]) -> None:
        """Goes on from a state of the same collection and seed."""
        self._epoch, self._turn, self._place = state
        self._window: Window | None = None
        self._empty_turns = 0

    def take(self, count: int) -> list[Any]:
        """The next so many samples.

        Raises:
            DataError: the collection has none.
        """
        samples: list[Any] = []
        while len(samples) < count:
            window, order, draws = self._open()
            rows = order[self._place : self._place + count - len(samples)]
            samples += [window.sample(int(row), int(draws[row])) for row in rows]
            self._place += len(rows)
            if self._place == len(order):
                self._turn_over(len(order))
        return samples

    def _open(self) -> tuple[Window, np.ndarray, np.ndarray]:
        if self._window is None:
            self._window = self._read(self._number(self._epoch, self._turn))
            random = np.random.default_rng([self.seed, self._epoch, self._turn, 1])
            self._order = random.permutation(len(self._window))
            self._draws = random.integers(LARGEST_DRAW, size=len(self._window))
        return self._window, self._order, self._draws

    def _turn_over(self, rows: int) -> None:
        self._empty_turns = 0 if rows else self._empty_turns + 1
        # Wherever it begins, a run of so many windows holds a whole epoch.
        if self._empty_turns == 2 * len(self.windows):
            raise DataError(f"{self.windows.name}: no row can be learned from: check its captions")
        self._epoch, self._turn = self._following()
        self._place, self._window = 0, None

    def _following(self) -> tuple[int, int]:
        last = self._turn + 1 == len(self.windows)
        return (self._epoch + 1, 0) if last else (self._epoch, self._turn + 1)

    def _number(self, epoch: int, turn: int) -> int:
        random, count = np.random.default_rng([self.seed, epoch]), len(self.windows)
        turn_of_group = np.argsort(random.permutation(-(-count // self.windows.group)))
        turns = turn_of_group[np.arange(count) // self.windows.group]  # [count]
        return int(np.lexsort((random.random(count), turns))[turn])

    def _read(self, number: int) -> Window:
        """A window, read ahead where it was foreseen; the one after it is begun."""
        if len(self.windows) == 1:
            return self.windows.read(number)
        known, coming = self._ahead or (None, None)
        window = coming.result() if coming is not None and known == number else self.windows.read(number)
        following = self._number(*self._following())
        self._ahead = (following, self._reader.submit(self.windows.read, following))
        return window


class MixtureSampler:
    """Samples of several collections, drawn by weight.

    Args:
        parts: the collections.
        weights: how much of a step comes of each; any positive numbers.
        seed: of the draws.
    """

    def __init__(self, parts: Sequence[ShuffledSampler], weights: Sequence[float], seed: int) -> None:
        self.parts, self.seed = list(parts), seed
        self._shares = np.asarray(weights, float) / sum(weights)

    @property
    def state(self) -> list[list[int]]:
        """Where each collection stands."""
        return [part.state for part in self.parts]

    def restore(self, state: Sequence[Sequence[int]]) -> None:
        """Goes on from a state of the same collections."""
        for part, of_part in zip(self.parts, state, strict=True):
            part.restore(of_part)

    def take(self, step: int, count: int) -> list[Any]:
        """The samples of a step.

        Raises:
            DataError: one of the collections has none.
        """
        if len(self.parts) == 1:
            return self.parts[0].take(count)
        chosen = np.random.default_rng([self.seed, step]).choice(len(self.parts), size=count, p=self._shares)
        taken = [iter(part.take(int((chosen == i).sum()))) for i, part in enumerate(self.parts)]
        return [next(taken[part]) for part in chosen]
