"""Summaries of the fields of metadata files, computed over their columns by arrow."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipgpt_retrieval.index.field_summary import SAMPLE_ROWS, FieldSummary, summary_of
from clipgpt_retrieval.index.filters import Field
from clipgpt_retrieval.index.metadata_columns import MetadataColumns


def summarize(columns: MetadataColumns, fields: Sequence[Field]) -> list[FieldSummary]:
    """The summaries of fields: values of the first `SAMPLE_ROWS` rows, ranges of all rows."""
    names = [field.name for field in fields]
    values: dict[str, list[Any]] = {name: [] for name in names}
    counted = 0
    for batch in columns.batches(names) if names else ():
        for name, column in batch.items():
            values[name] += column.slice(0, SAMPLE_ROWS - counted).to_pylist()
        counted += len(next(iter(batch.values())))
        if counted >= SAMPLE_ROWS:
            break
    ranges = _ranges(columns, [field.name for field in fields if field.type in ("integer", "number", "time")])
    summaries = [summary_of(field, values[field.name]) for field in fields]
    return [
        replace(one, minimum=ranges[one.field.name][0], maximum=ranges[one.field.name][1])
        if one.field.name in ranges
        else one
        for one in summaries
    ]


def _ranges(columns: MetadataColumns, names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """The smallest and largest value of columns; None where there is none."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    for batch in columns.batches(names) if names else ():
        for name, column in batch.items():
            found[name] += [value for value in pc.min_max(_without_nan(column)).as_py().values() if value is not None]
    return {name: (min(values, default=None), max(values, default=None)) for name, values in found.items()}


def _without_nan(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
