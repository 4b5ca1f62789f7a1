"""Which rows satisfy a filter, computed over columns of metadata by arrow."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipgpt_retrieval.index.filters import Condition, Filter, clamped
from clipgpt_retrieval.index.metadata_columns import MetadataColumns

_COMPARE = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_EPOCH = datetime(1970, 1, 1)


def matching_rows(columns: MetadataColumns, filter: Filter, count: int) -> np.ndarray:
    """Whether each of the first ``count`` rows satisfies all conditions, bool ``[count]``."""
    matching = np.zeros(count, bool)
    start = 0
    for batch in columns.batches(sorted({condition.field.name for condition in filter})):
        kept = [_holds(condition, batch[condition.field.name]) for condition in filter]
        held = np.logical_and.reduce(kept)[: count - start]
        matching[start : start + len(held)] = held
        start += len(held)
        if start == count:
            break
    return matching


def _holds(condition: Condition, column: pa.Array) -> np.ndarray:
    """Whether each value of a column satisfies a condition, bool ``[n]``."""
    column = _comparable(column)
    present = column.is_valid()
    if pa.types.is_floating(column.type):
        present = pc.and_(present, pc.invert(pc.is_nan(column).fill_null(False)))
    if condition.op == "exists":
        held = present if condition.value else pc.invert(present)
    else:
        held = pc.and_(present, _compared(condition, column).fill_null(False))
    return held.to_numpy(zero_copy_only=False)


def _compared(condition: Condition, column: pa.Array) -> pa.Array:
    if condition.field.type == "list":
        return _contains(condition, column)
    if pa.types.is_integer(column.type) and condition.field.type == "integer":
        condition = clamped(condition, *_limits(column.type))
    if condition.op == "exists":
        return column.is_valid()
    if condition.op == "in":
        values = [_stored(value) for value in condition.value]
        return pc.is_in(column, value_set=pa.array(values, column.type))
    if condition.op == "contains":
        return pc.match_substring(column, condition.value)
    return _COMPARE[condition.op](column, pa.scalar(_stored(condition.value), column.type))


def _contains(condition: Condition, column: pa.Array) -> pa.Array:
    """Whether each list of a column has a value."""
    values = _comparable(pc.list_flatten(column))
    equal = Condition(condition.field, condition.op, condition.value)
    if pa.types.is_integer(values.type):
        equal = clamped(equal, *_limits(values.type))
    held = np.zeros(len(column), bool)
    if equal.op == "contains":
        found = pc.equal(values, pa.scalar(equal.value, values.type)).fill_null(False)
        held[pc.list_parent_indices(column).filter(found).to_numpy()] = True
    return pa.array(held)


def _comparable(column: pa.Array) -> pa.Array:
    """A column in a type that arrow compares: times in microseconds of UTC, decimals as floating-point numbers."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        return column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    return column


def _stored(value: Any) -> Any:
    """The value of a condition as `_comparable` has those of the column."""
    return (value - _EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value


def _limits(kind: pa.DataType) -> tuple[int, int]:
    """The smallest and largest integer of a type."""
    limits = np.iinfo(kind.to_pandas_dtype())
    return int(limits.min), int(limits.max)
