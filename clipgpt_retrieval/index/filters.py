"""Filters: conditions on the metadata of items, all of which hold, checked against the fields of a collection.

A missing value (null, or NaN) satisfies no condition but ``exists`` with the value false: as in SQL, ``!=`` does not
keep it either. Text is compared by its UTF-8 bytes, with upper and lower case distinct.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal, get_args

from clipgpt_retrieval.errors import InputError

Op = Literal["=", "!=", "<", "<=", ">", ">=", "in", "contains", "exists"]
FieldType = Literal["integer", "number", "boolean", "text", "time", "list", "other"]
"""A ``time`` is a date or a timestamp, a ``list`` has values of one other type, on ``other`` only ``exists`` works."""

MAX_CONDITIONS = 32
MAX_VALUES = 10_000
"""The most values of one ``in``."""

_COMPARISONS: tuple[Op, ...] = ("=", "!=", "<", "<=", ">", ">=", "in", "exists")
_OPS: dict[FieldType, tuple[Op, ...]] = {
    "integer": _COMPARISONS,
    "number": _COMPARISONS,
    "time": _COMPARISONS,
    "text": (*_COMPARISONS, "contains"),
    "boolean": ("=", "!=", "in", "exists"),
    "list": ("contains", "exists"),
    "other": ("exists",),
}


@dataclass(frozen=True)
class Field:
    """A field of the metadata.

    Attributes:
        name: of the column.
        type: of its values.
        item_type: of the values of a ``list``; None for other types.
    """

    name: str
    type: FieldType
    item_type: FieldType | None = None

    @property
    def ops(self) -> tuple[Op, ...]:
        """The operators that a condition on this field may have."""
        if self.type == "list" and self.item_type not in ("integer", "number", "boolean", "text"):
            return ("exists",)
        return _OPS[self.type]


@dataclass(frozen=True)
class Condition:
    """One checked condition.

    Attributes:
        field: that it is on.
        op: its operator.
        value: an int for an ``integer`` field, a float for a ``number``, a bool, a str, or a `datetime` in UTC without
            timezone for a ``time``; of the item type for ``contains`` on a list; a tuple of such for ``in``, which may
            be empty: then nothing satisfies the condition; a bool for ``exists``.
    """

    field: Field
    op: Op
    value: Any


Filter = tuple[Condition, ...]
"""Conditions that all hold; none: every item. Hashable, so that results can be cached by it."""


def parse_filter(conditions: Sequence[Mapping[str, Any]], fields: Sequence[Field], name: str = "filter") -> Filter:
    """Checks the conditions of a request.

    Args:
        conditions: each with ``field``, ``op`` and ``value``; ``exists`` needs no value, which is then true.
        fields: of the collection.
        name: of the request field, for the error.

    Raises:
        InputError: names the first invalid condition by its position, and states what it may be.

    Examples:
        >>> fields = [Field("width", "integer"), Field("caption", "text")]
        >>> [condition] = parse_filter([{"field": "width", "op": ">", "value": 511.5}], fields)
        >>> condition.op, condition.value
        ('>=', 512)
    """
    if len(conditions) > MAX_CONDITIONS:
        raise InputError(name, f"has {len(conditions)} conditions, at most {MAX_CONDITIONS} are supported")
    known = {field.name: field for field in fields}
    return tuple(_parse(condition, known, f"{name}.{i}") for i, condition in enumerate(conditions))


def clamped(condition: Condition, low: int, high: int) -> Condition:
    """The same condition on integers of a type with the values ``low`` to ``high``, in values of that type."""
    op, value = condition.op, condition.value
    if "integer" not in (condition.field.type, condition.field.item_type) or op == "exists":
        return condition
    if op == "in":
        return replace(condition, value=tuple(each for each in value if low <= each <= high))
    if low <= value <= high:
        return condition
    if op in ("=", "contains") or (op != "!=" and (op in ("<", "<=")) == (value < low)):
        return replace(condition, op="in", value=())
    return Condition(condition.field, "exists", True)


def _parse(condition: Mapping[str, Any], known: Mapping[str, Field], at: str) -> Condition:
    if not isinstance(condition, Mapping):
        raise InputError(at, "must be an object with field, op and value")
    if unknown := sorted(set(condition) - {"field", "op", "value"}):
        raise InputError(at, f"has the unknown key {unknown[0]!r}: give field, op and value")
    field = _field(condition.get("field"), known, f"{at}.field")
    op = condition.get("op")
    if op not in get_args(Op):
        raise InputError(f"{at}.op", f"is {_shown(op)}, it must be one of {' '.join(get_args(Op))}")
    if op not in field.ops:
        kind = _kind(field)
        raise InputError(f"{at}.op", f"is {op}, and {field.name!r} is {kind}: use one of {' '.join(field.ops)}")
    value = condition.get("value")
    if op == "exists":
        return Condition(field, op, _boolean(True if value is None else value, f"{at}.value"))
    if value is None:
        raise InputError(f"{at}.value", "is missing: give one, or test for missing values by exists")
    if op != "in":
        return _compared(field, op, value, f"{at}.value")
    if not isinstance(value, list | tuple):
        raise InputError(f"{at}.value", "must be a list for in")
    if len(value) > MAX_VALUES:
        raise InputError(f"{at}.value", f"has {len(value)} values, at most {MAX_VALUES} are supported")
    each = [_compared(field, "=", one, f"{at}.value") for one in value]
    return Condition(field, "in", tuple(one.value for one in each if one.op == "="))


def _field(name: Any, known: Mapping[str, Field], at: str) -> Field:
    if isinstance(name, str) and name in known:
        return known[name]
    if not known:
        raise InputError(at, "cannot be filtered by: this index has no metadata fields")
    nearest = difflib.get_close_matches(str(name), known, 1)
    advice = f"did you mean {nearest[0]!r}?" if nearest else f"the fields are {', '.join(list(known)[:20])}"
    raise InputError(at, f"{_shown(name)} is unknown: {advice}")


def _compared(field: Field, op: Op, value: Any, at: str) -> Condition:
    """A condition that compares with one value, or asks for one."""
    kind = field.item_type if field.type == "list" else field.type
    if kind == "text":
        return Condition(field, op, _text(value, at, empty=op != "contains" or field.type == "list"))
    if kind == "boolean":
        return Condition(field, op, _boolean(value, at))
    if kind == "time":
        return Condition(field, op, _time(value, at))
    number = _number(value, at)
    if kind == "number":
        return Condition(field, op, _float(number, at))
    return _integer_condition(field, op, number)


def _integer_condition(field: Field, op: Op, value: int | float) -> Condition:
    """Compares integers with integers: a float64 does not distinguish those from 2^53 on."""
    if isinstance(value, int) or value.is_integer():
        return Condition(field, op, int(value))
    if op in ("<", "<="):
        return Condition(field, "<=", math.floor(value))
    if op in (">", ">="):
        return Condition(field, ">=", math.ceil(value))
    return Condition(field, "exists", True) if op == "!=" else Condition(field, "in", ())


def _number(value: Any, at: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(at, f"is {_shown(value)}, it must be a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(at, "must be finite: test for missing values by exists")
    return value


def _float(value: int | float, at: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InputError(at, "is larger than any floating-point number") from None


def _boolean(value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(at, f"is {_shown(value)}, it must be true or false")
    return value


def _text(value: Any, at: str, *, empty: bool) -> str:
    if not isinstance(value, str):
        raise InputError(at, f"is {_shown(value)}, it must be text")
    if not value and not empty:
        raise InputError(at, "must not be empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(at, "contains half of a surrogate pair, which is no Unicode text") from None
    return value


def _time(value: Any, at: str) -> datetime:
    try:
        time = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return time.astimezone(timezone.utc).replace(tzinfo=None) if time.tzinfo else time
    except (AttributeError, ValueError, OverflowError):
        raise InputError(at, f"is {_shown(value)}, it must be a date or time such as 2024-05-31T18:00") from None


def _shown(value: Any) -> str:
    """A value of a request in an error, at most 80 characters of it."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        text = "a very large integer"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _kind(field: Field) -> str:
    if field.ops == ("exists",):
        return "a field that can only be tested for existence"
    return f"{'an' if field.type == 'integer' else 'a'} {field.type} field"
