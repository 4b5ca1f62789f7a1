"""Filters as expressions of Milvus, built of parsed conditions: values are literals, escaped, and never part of it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.index.filters import Condition, Filter, clamped
from clipgpt_retrieval.index.milvus_fields import MilvusField

NOTHING = "in []"

_OPERATORS = {"=": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_WILDCARDS = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
_EPOCH = datetime(1970, 1, 1)


def expression(filter: Filter, fields: Mapping[str, MilvusField], id_field: str, *, is_lite: bool) -> str:
    r"""The expression that keeps what a filter keeps; empty for an empty filter.

    Args:
        filter: checked against the fields of the collection.
        fields: of the collection, by column.
        id_field: name of the primary key, which no item lacks.
        is_lite: for Milvus Lite, whose patterns differ.

    Raises:
        InputError: conditions that Milvus cannot evaluate together.

    Examples:
        >>> from clipgpt_retrieval.index.filters import parse_filter
        >>> field = MilvusField("caption", "caption", "text")
        >>> said = [{"field": "caption", "op": "=", "value": 'a "red" cube'}]
        >>> expression(parse_filter(said, [field.field]), {"caption": field}, "item_id", is_lite=True)
        'caption == "a \\"red\\" cube"'
    """
    if is_lite:
        _check_together(filter)
    return " and ".join(_condition(each, fields[each.field.name], id_field, is_lite) for each in filter)


def literal(value: Any) -> str:
    r"""A value as Milvus writes it: text, numbers, booleans, or a list of them.

    Examples:
        >>> literal(['a"b', "c"]), literal(True), literal(0.5)
        ('["a\\"b", "c"]', 'true', '0.5')
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return str((value - _EPOCH) // timedelta(microseconds=1))
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    return repr(value)


def _condition(condition: Condition, field: MilvusField, id_field: str, is_lite: bool) -> str:
    condition = clamped(condition, -(2**63), 2**63 - 1)
    name, op, value = field.name, condition.op, condition.value
    if op == "exists":
        return f"{name} is {'not null' if value else 'null'}"
    if op == "in":
        return f"{name} in {literal([_rounded(each, field) for each in value])}" if value else f"{id_field} {NOTHING}"
    if op == "contains" and field.kind == "list":
        return f"array_contains({name}, {literal(value)})"
    if op == "contains":
        return f"{name} like {literal(f'%{_as_pattern(value, is_lite)}%')}"
    return f"{name} {_OPERATORS[op]} {literal(_rounded(value, field))}"


def _as_pattern(text: str, is_lite: bool) -> str:
    """A text in a pattern. pyarrow, which Milvus Lite asks, takes one without wildcards as it is, backslashes too."""
    plain = not set(text) & set("%_") and not text.endswith("\\")
    return text if is_lite and plain else text.translate(_WILDCARDS)


def _rounded(value: Any, field: MilvusField) -> Any:
    """A number in the precision of its field: 0.1 is another number in float32."""
    return float(np.float32(value)) if field.is_float32 and isinstance(value, float) else value


def _check_together(filter: Filter) -> None:
    """Milvus Lite evaluates a condition on a list row by row, and then takes no escaped wildcard."""
    lists = any(each.field.type == "list" and each.op == "contains" for each in filter)
    for each in filter:
        if lists and each.op == "contains" and each.field.type == "text" and set(each.value) & set("%_\\"):
            raise InputError(
                "filter", f"contains {each.value!r} cannot be combined with a condition on a list: omit one of them"
            )
