"""Rows of an input file, and the ranges of them that make shards."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """A range of rows that makes a shard; see :class:`Shard` for its fields."""

    start: int
    stop: int
    byte_range: tuple[int, int] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of one input file.

    Attributes:
        values: a list of texts (anything but a non-empty text is unusable), or an array of embeddings ``[n, d]`` of
            any float type.
        metadata: a pyarrow table of n rows to hand on, or None.
    """

    values: Any
    metadata: Any

    def __len__(self) -> int:
        return len(self.values)

    def slice(self, start: int, length: int) -> "Rows":
        """Rows from ``start`` on, ``length`` at most."""
        metadata = None if self.metadata is None else self.metadata.slice(start, length)
        return Rows(self.values[start : start + length], metadata)


def even_spans(count: int, size: int) -> list[Span]:
    """``count`` rows, ``size`` together, the last of them fewer."""
    return [Span(start, min(start + size, count)) for start in range(0, count, size)]
