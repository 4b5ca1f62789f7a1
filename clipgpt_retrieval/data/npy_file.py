"""``.npy`` files of embeddings: the header of each, and any range of their rows, in C or Fortran order."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clipgpt_retrieval.errors import DataError


@dataclass(frozen=True)
class NpyHeader:
    """The header of a file of embeddings.

    Attributes:
        file: its path.
        count: number of rows.
        dimension: of the embeddings.
        dtype: a float type of any byte order.
        fortran_order: whether the file is written column by column.
        offset: bytes before the data.
    """

    file: str
    count: int
    dimension: int
    dtype: np.dtype
    fortran_order: bool
    offset: int

    @property
    def end(self) -> int:
        """Bytes up to the end of the data."""
        return self.offset + self.count * self.dimension * self.dtype.itemsize


def read_npy_header(opened: Any, file: str) -> NpyHeader:
    """Reads the header of an open file; nothing is unpickled.

    Raises:
        DataError: not an array ``[n, d]`` of floats.
    """
    # Version 3 differs from 2 in the field names of structured types only, which are refused below.
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, fortran_order, dtype = read[np.lib.format.read_magic(opened)](opened)
    except (ValueError, KeyError, EOFError) as error:
        raise DataError(f"{file} cannot be read as an .npy array: write it again, or remove it") from error
    if len(shape) != 2 or dtype.kind != "f":
        raise DataError(f"{file} contains {dtype} of shape {list(shape)}: embeddings are rows of floats [n, d]")
    count, dimension = shape
    return NpyHeader(file, count, dimension, dtype, fortran_order, opened.tell())


def read_npy_rows(opened: Any, header: NpyHeader, start: int, stop: int) -> np.ndarray:
    """Rows ``start`` to ``stop - 1`` of an open file, ``[stop - start, d]`` of its own type.

    Raises:
        DataError: the file ends before.
    """
    if not header.fortran_order:
        size = header.dimension * header.dtype.itemsize
        raw = _read(opened, header, header.offset + start * size, (stop - start) * size, stop)
        return np.frombuffer(raw, header.dtype).reshape(stop - start, header.dimension)
    item = header.dtype.itemsize
    columns = [
        _read(opened, header, header.offset + (column * header.count + start) * item, (stop - start) * item, stop)
        for column in range(header.dimension)
    ]
    return np.frombuffer(b"".join(columns), header.dtype).reshape(header.dimension, stop - start).T


def _read(opened: Any, header: NpyHeader, position: int, size: int, stop: int) -> bytes:
    opened.seek(position)
    raw = opened.read(size)
    if len(raw) < size:
        raise DataError(f"{header.file} ends before row {stop - 1}: write it again")
    return raw
