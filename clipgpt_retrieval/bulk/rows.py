"""Rows of an input file, and the ranges of them that make shards."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """The range of rows of a shard; see `job.Shard` for its fields."""

    start: int
    stop: int
    byte_range: tuple[int, int] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of one input file.

    Attributes:
        values: a list of texts (anything but a non-empty text is unusable), or an array of embeddings ``[n, d]`` of
            any float type.
        metadata: a pyarrow table of n rows that is passed on, or None.
    """

    values: Any
    metadata: Any

    def __len__(self) -> int:
        return len(self.values)

    def slice(self, start: int, length: int) -> "Rows":
        """At most ``length`` rows from ``start`` on."""
        metadata = None if self.metadata is None else self.metadata.slice(start, length)
        return Rows(self.values[start : start + length], metadata)


def even_spans(count: int, size: int) -> list[Span]:
    """``count`` rows in ranges of ``size``; the last may be shorter."""
    return [Span(start, min(start + size, count)) for start in range(0, count, size)]
