"""Columns of metadata as fields of a Milvus collection, in types that keep their values, and back.

Milvus has neither times nor all names: such a column is a field whose name says what it stands for.
"""

import math
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.index.filters import Field, FieldType

ID_FIELD = "item_id"
EMBEDDING_FIELD = "embedding"
SAMPLE_FIELD = "clipgpt_sample"
"""A number from 0 to `SAMPLE_RANGE` that is random for each item: a range of it is a random sample."""

SAMPLE_RANGE = 2**31
MAX_TEXT_BYTES = 65_535
MAX_LIST_LENGTH = 4096

_OWN = (ID_FIELD, EMBEDDING_FIELD, SAMPLE_FIELD)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_ENCODED = re.compile(r"clipgpt_(text|time|date|json|list|integer|number|boolean)_([0-9a-f]+)")
_KEYWORDS = {"and", "or", "not", "in", "like", "is", "null", "exists", "iso", "interval", "true", "false"}
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class MilvusField:
    """A field of a collection and the column of metadata that it stands for.

    Attributes:
        name: of the field in Milvus.
        column: name of the column.
        kind: ``text``, ``integer``, ``number``, ``boolean``, ``list``, ``time``, ``date`` or ``json``.
        item_kind: of the values of a ``list``.
        is_float32: numbers are float32.
    """

    name: str
    column: str
    kind: str
    item_kind: str | None = None
    is_float32: bool = False

    @property
    def field(self) -> Field:
        """As filters know it."""
        types: dict[str, FieldType] = {"date": "time", "json": "other"}
        kind: Any = types.get(self.kind, self.kind)
        item: Any = self.item_kind
        return Field(self.column, kind, item if kind == "list" else None)

    def stored(self, value: Any) -> Any:
        """A value of the column, as Milvus takes it; None if it is missing.

        Raises:
            ValueError: too long, or too large an integer.
        """
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if self.kind == "list":
            return _stored_list([_stored_scalar(each, str(self.item_kind)) for each in value if each is not None])
        return _stored_scalar(value, self.kind)

    def value(self, stored: Any) -> Any:
        """The value of the column that Milvus returns."""
        if stored is None:
            return None
        if self.kind in ("time", "date"):
            time = _EPOCH + stored * _MICROSECOND
            return time.date() if self.kind == "date" else time
        return list(stored) if self.kind == "list" else stored


def field_of_column(column: str, arrow_type: Any) -> MilvusField:
    """The field for a column of an arrow type."""
    import pyarrow as pa

    kind, item_kind = _kind(arrow_type), None
    if kind == "list":
        item_kind = _kind(arrow_type.value_type)
        if item_kind not in ("text", "integer", "number", "boolean"):
            kind, item_kind = "json", None
    plain = _PLAIN.fullmatch(column) and column.lower() not in _KEYWORDS and not column.startswith("clipgpt_")
    as_it_is = plain and column not in _OWN and kind not in ("time", "date")
    name = column if as_it_is else f"clipgpt_{kind}_{column.encode().hex()}"
    is_float32 = pa.types.is_float32(arrow_type) or pa.types.is_float16(arrow_type)
    return MilvusField(name, column, kind, item_kind, is_float32)


def field_of_milvus(described: dict[str, Any]) -> MilvusField | None:
    """The field that Milvus describes; None if it is not one of metadata."""
    from pymilvus import DataType

    kinds = {
        DataType.BOOL: "boolean",
        DataType.FLOAT: "number",
        DataType.DOUBLE: "number",
        DataType.VARCHAR: "text",
        DataType.JSON: "json",
        DataType.ARRAY: "list",
        **dict.fromkeys((DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64), "integer"),
    }
    kind = kinds.get(described["type"])
    if kind is None or described["name"] == SAMPLE_FIELD or described.get("is_primary"):
        return None
    name = described["name"]
    encoded = _ENCODED.fullmatch(name)
    column = bytes.fromhex(encoded[2]).decode() if encoded else name
    item_kind = kinds.get(described.get("element_type")) if kind == "list" else None
    is_float32 = described["type"] == DataType.FLOAT
    return MilvusField(name, column, encoded[1] if encoded else kind, item_kind, is_float32)


def add_to_schema(schema: Any, field: MilvusField) -> None:
    """Adds a field to a schema of pymilvus; its values may be missing."""
    from pymilvus import DataType

    number = DataType.FLOAT if field.is_float32 else DataType.DOUBLE
    types = {"text": DataType.VARCHAR, "integer": DataType.INT64, "number": number, "boolean": DataType.BOOL}
    types |= {"time": DataType.INT64, "date": DataType.INT64, "json": DataType.JSON, "list": DataType.ARRAY}
    settings: dict[str, Any] = {}
    if "text" in (field.kind, field.item_kind):
        settings["max_length"] = MAX_TEXT_BYTES
    if field.kind == "list":
        element = DataType.DOUBLE if field.item_kind == "number" else types[str(field.item_kind)]
        settings |= {"element_type": element, "max_capacity": MAX_LIST_LENGTH}
    schema.add_field(field.name, types[field.kind], nullable=True, **settings)


def check_dimension(name: str, described: dict[str, Any]) -> int:
    """The dimension of a vector field.

    Raises:
        DataError: Milvus describes none.
    """
    try:
        return int(described["params"]["dim"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{name}: field {described['name']} has no dimension: load the collection again") from None


def _kind(arrow_type: Any) -> str:
    import pyarrow as pa

    from clipgpt_retrieval.index.metadata_columns import fields_of  # reads no file

    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    [field] = fields_of(pa.schema([("column", arrow_type)]))
    if field.type == "time":
        return "date" if pa.types.is_date(arrow_type) else "time"
    return "json" if field.type == "other" else field.type


def _stored_scalar(value: Any, kind: str) -> Any:
    if kind == "text":
        return _stored_text(value)
    if kind == "integer":
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{value} does not fit into 64 bits with a sign")
        return int(value)
    if kind == "time":
        return (value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND
    if kind == "date":
        return (datetime(value.year, value.month, value.day) - _EPOCH) // _MICROSECOND
    return float(value) if kind == "number" else bool(value) if kind == "boolean" else _stored_json(value)


def _stored_text(value: str) -> str:
    if len(value.encode(errors="replace")) > MAX_TEXT_BYTES:
        raise ValueError(f"its text has more than {MAX_TEXT_BYTES} bytes")
    return value


def _stored_list(values: list[Any]) -> list[Any]:
    if len(values) > MAX_LIST_LENGTH:
        raise ValueError(f"its list has more than {MAX_LIST_LENGTH} values")
    return values


def _stored_json(value: Any) -> Any:
    """A struct, or any other value, of what JSON has."""
    if isinstance(value, dict):
        return {str(name): _stored_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_stored_json(each) for each in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)
