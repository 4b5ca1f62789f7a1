"""The encoding of text files: UTF-8, or that of their byte order mark. Others are refused with their line."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import fsspec

from clipgpt_retrieval.errors import DataError

BLOCK = 1 << 22


@dataclass(frozen=True)
class TextEncoding:
    """An encoding whose lines can be found in bytes.

    Attributes:
        codec: its name in Python, without byte order mark.
        mark: the byte order mark of its files.
        width: bytes of its code units.
    """

    codec: str
    mark: bytes
    width: int

    @property
    def newline(self) -> bytes:
        """The end of a line."""
        return "\n".encode(self.codec)

    def ends_of_lines(self, block: bytes) -> Iterator[int]:
        """Offsets behind each newline in a block that begins with a whole code unit."""
        found = -1
        while (found := block.find(self.newline, found + 1)) >= 0:
            if found % self.width == 0:
                yield found + self.width

    def text(self, raw: bytes, errors: str = "strict") -> str:
        """The text of bytes, without a byte order mark at its beginning."""
        return raw.removeprefix(self.mark).decode(self.codec, errors)


UTF_8 = TextEncoding("utf-8", codecs.BOM_UTF8, 1)

ENCODINGS = (
    UTF_8,
    # Before UTF-16, as its little-endian mark begins with that of UTF-16.
    TextEncoding("utf-32-le", codecs.BOM_UTF32_LE, 4),
    TextEncoding("utf-32-be", codecs.BOM_UTF32_BE, 4),
    TextEncoding("utf-16-le", codecs.BOM_UTF16_LE, 2),
    TextEncoding("utf-16-be", codecs.BOM_UTF16_BE, 2),
)


def encoding_of(head: bytes) -> TextEncoding:
    """The encoding of a file by its first four bytes; UTF-8 if it has no byte order mark."""
    return next((encoding for encoding in ENCODINGS if head.startswith(encoding.mark)), UTF_8)


def read_text(file: str) -> str:
    """The content of a text file.

    Args:
        file: path or fsspec URL.

    Raises:
        DataError: it is not text of a known encoding.
        OSError: the file cannot be read.
    """
    check_text(file)
    with fsspec.open(file, "rb") as opened:
        raw = opened.read()
    return encoding_of(raw[:4]).text(raw)


def check_text(file: str) -> None:
    """Checks that a file is text of a known encoding; for the errors see `read_text`."""
    with fsspec.open(file, "rb") as opened:
        check = TextCheck(file, encoding_of(opened.read(4)))
        opened.seek(0)
        while block := opened.read(BLOCK):
            check(block)
        check.end()


def has_many_nuls(text: str) -> bool:
    """Whether a quarter of a text is NUL characters, as in UTF-16 without a byte order mark that is read as UTF-8."""
    return text.count("\0") * 4 > len(text)


class TextCheck:
    """Checks, block by block, that a file is text of an encoding.

    Args:
        name: of the file, for errors.
        encoding: of the file.
        errors: "surrogatepass" allows lone surrogates.
    """

    def __init__(self, name: str, encoding: TextEncoding, errors: str = "strict") -> None:
        self._name = name
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding.codec)(errors)
        self._lines = 1

    def __call__(self, block: bytes) -> None:
        """Checks the next block.

        Raises:
            DataError: naming the file and the line.
        """
        self._decode(block)

    def end(self) -> None:
        """Checks that the file does not end within a character.

        Raises:
            DataError: naming the file and the line.
        """
        self._decode(b"", final=True)

    def _decode(self, block: bytes, final: bool = False) -> None:
        try:
            text, error = self._decoder.decode(block, final), None
        except UnicodeDecodeError as raised:
            text, error = raised.object[: raised.start].decode(self._encoding.codec, "replace"), raised
        if has_many_nuls(text):
            raise self._error(text[: text.index("\0")], "has many NUL characters, so it is not")
        if error is not None:
            raise self._error(text, "cannot be decoded as")
        self._lines += text.count("\n")

    def _error(self, before: str, problem: str) -> DataError:
        line = self._lines + before.count("\n")
        name = self._encoding.codec[:6].upper().rstrip("-")
        return DataError(
            f"{self._name}, line {line}: {problem} {name} text: save the file as UTF-8, for example by "
            "iconv -f LATIN1 -t UTF-8 (or -f UTF-16)"
        )


def next_line(file: IO[bytes], position: int, encoding: TextEncoding) -> int:
    """Where the first line that begins after a position, a multiple of the encoding's width, begins; or the end."""
    file.seek(position)
    while block := file.read(BLOCK):
        for end in encoding.ends_of_lines(block):
            return position + end
        position += len(block)
    return position
