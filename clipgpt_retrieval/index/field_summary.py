"""What values the fields of a collection have: ranges, and the most frequent values, to offer in filters."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clipgpt_retrieval.index.filters import Field

SAMPLE_ROWS = 2**17
"""Rows among which frequent values are counted."""

NUM_VALUES = 20
MAX_LENGTH = 200
"""Of a text that is offered as a value."""

_RANGED = ("integer", "number", "time")


@dataclass(frozen=True)
class FieldSummary:
    """The values of one field.

    Attributes:
        field: that they are of.
        minimum: the smallest of an ``integer``, ``number`` or ``time``; else None.
        maximum: the largest.
        values: the most frequent, with their counts among the counted rows: up to `NUM_VALUES` that occur more than
            once, or all values if they are few; the items of a ``list``.
        missing: counted rows without a value.
        counted: rows that were counted.
    """

    field: Field
    minimum: Any
    maximum: Any
    values: list[tuple[Any, int]]
    missing: int
    counted: int


def summary_of(field: Field, values: Sequence[Any]) -> FieldSummary:
    """The summary of the values of a field in some rows, as Python has them; None and NaN are missing.

    Examples:
        >>> summary_of(Field("width", "integer"), [512, 640, 512, None]).values
        [(512, 2), (640, 1)]
    """
    present = [value for value in values if not _is_missing(value)]
    ranged = present and field.type in _RANGED
    return FieldSummary(
        field,
        minimum=min(present) if ranged else None,
        maximum=max(present) if ranged else None,
        values=_frequent(field, present),
        missing=len(values) - len(present),
        counted=len(values),
    )


def _frequent(field: Field, present: Iterable[Any]) -> list[tuple[Any, int]]:
    kind = field.item_type if field.type == "list" else field.type
    if kind not in ("integer", "boolean", "text", "number"):
        return []
    if field.type == "list":
        present = (item for items in present for item in items if item is not None)
    counts = Counter(value for value in present if not isinstance(value, str) or len(value) <= MAX_LENGTH)
    found = counts.most_common(NUM_VALUES)
    return found if len(counts) <= NUM_VALUES else [(value, count) for value, count in found if count > 1]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
