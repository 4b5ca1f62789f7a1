"""Values of metadata columns as JSON."""

import math
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd


def json_value(value: Any) -> Any:
    """A value from a parquet, arrow or hdf5 column as JSON has it.

    Lists and structs become lists and objects, dates ISO 8601 text; NaN, NaT and infinity become null, as JSON has none
    of them; any other kind (decimals, durations) becomes text.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, dict):
        return {str(key): json_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray):
        return [json_value(part) for part in value]
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    elif isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NaT or value is pd.NA or _is_nonfinite(value):
        return None
    if isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def _is_nonfinite(value: Any) -> bool:
    if isinstance(value, Decimal):
        return not value.is_finite()
    return isinstance(value, float) and not math.isfinite(value)
