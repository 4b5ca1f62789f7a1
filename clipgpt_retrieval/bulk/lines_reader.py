"""Texts in lines: plain or as JSON objects."""

import json
import re
from typing import Any

import pyarrow as pa

from clipgpt_retrieval.bulk.job import Shard
from clipgpt_retrieval.bulk.rows import Rows, Span
from clipgpt_retrieval.data.text_encoding import BLOCK, TextCheck, TextEncoding, encoding_of
from clipgpt_retrieval.errors import DataError

BYTE_ORDER_MARK = "\ufeff"

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""A lone surrogate, from a text that was cut within an emoji: JSON allows it, UTF-8 and tokenizers do not."""


class LinesReader:
    """Reads files with one text a line, in UTF-8 or in the encoding of their byte order mark.

    Args:
        fs: the file system.
        files: the files.
    """

    _errors = "strict"

    def __init__(self, fs: Any, files: list[str]) -> None:
        self.fs = fs
        self.files = files

    def sources(self, file: str) -> list[str]:
        return [file]

    def spans(self, file: str, size: int) -> list[Span]:
        """Ranges with byte offsets, found in one pass, so that reading a shard counts no lines.

        Raises:
            DataError: a line is not text.
        """
        starts = [0]
        lines, position, last = 0, 0, b""
        encoding = self._encoding(file)
        check = TextCheck(file, encoding, self._errors)
        with self.fs.open(file, "rb") as opened:
            while block := opened.read(BLOCK):
                check(block)
                for end in encoding.ends_of_lines(block):
                    lines += 1
                    if lines % size == 0:
                        starts.append(position + end)
                position += len(block)
                last = block[-encoding.width :]
        check.end()
        lines += last not in (b"", encoding.newline)
        starts = [start for start in starts if start < position]
        ends = [*starts[1:], position][: len(starts)]
        return [
            Span(part * size, min((part + 1) * size, lines), (start, end))
            for part, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]

    def read(self, shard: Shard) -> Rows:
        return Rows(self._lines(shard), None)

    def _encoding(self, file: str) -> TextEncoding:
        return encoding_of(self.fs.cat_file(file, start=0, end=4))

    def _lines(self, shard: Shard) -> list[str]:
        assert shard.byte_range is not None
        start, end = shard.byte_range
        raw = self.fs.cat_file(shard.file, start=start, end=end)
        try:
            lines = self._encoding(shard.file).text(raw, self._errors).removesuffix("\n").split("\n")
        except UnicodeDecodeError:
            lines = []
        if len(raw) != end - start or len(lines) != len(shard):
            raise DataError(f"{shard.file} has changed since the job was planned: give a new output folder")
        return [line.removeprefix(BYTE_ORDER_MARK).removesuffix("\r") for line in lines]


class JsonLinesReader(LinesReader):
    """Reads files with one JSON object a line; its other keys are passed on as metadata.

    Args:
        fs: the file system.
        files: the files.
        column: the key of the text.
    """

    _errors = "surrogatepass"

    def __init__(self, fs: Any, files: list[str], column: str) -> None:
        super().__init__(fs, files)
        self._column = column

    def spans(self, file: str, size: int) -> list[Span]:
        """As for plain lines; at least one line must have a text."""
        spans = super().spans(file, size)
        codec = self._encoding(file).codec
        with self.fs.open(file, "r", encoding=codec, errors=self._errors, newline="\n") as lines:
            texts = (_object(line.removeprefix(BYTE_ORDER_MARK)).get(self._column) for line in lines)
            if spans and not any(isinstance(text, str) for text in texts):
                raise DataError(f"{file}: no line is a JSON object with a text under {self._column!r}")
        return spans

    def read(self, shard: Shard) -> Rows:
        objects = [_object(line) for line in self._lines(shard)]
        texts = [one.pop(self._column, None) for one in objects]
        try:
            return Rows(texts, _as_table(objects))
        except (pa.ArrowException, OverflowError) as error:
            raise DataError(f"{shard}: a key holds values that have no type in common: {error}") from error


def _object(line: str) -> dict[str, Any]:
    """The object in a line; empty if it is not one."""
    try:
        value = json.loads(line, object_hook=_or_null)
        if SURROGATE.search(line):
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _or_null(value: dict[str, Any]) -> dict[str, Any] | None:
    """Parquet cannot store objects without keys: they become null."""
    return value or None


def _as_table(objects: list[dict[str, Any]]) -> pa.Table | None:
    names = sorted({name for one in objects for name in one})
    if not names:
        return None
    columns = {name: pa.array([one.get(name) for one in objects]) for name in names}
    # A column of nulls has no type, and files with different types of a column cannot be read together.
    return pa.table({n: c.cast(pa.string()) if pa.types.is_null(c.type) else c for n, c in columns.items()})
