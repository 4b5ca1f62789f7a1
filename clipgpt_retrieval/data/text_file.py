"""A file of captions without images, one on each line."""

from dataclasses import dataclass

import fsspec

from clipgpt_retrieval.data.text_encoding import check_text, encoding_of, has_many_nuls, next_line
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.prompt_text import clean_caption

WINDOW_BYTES = 64 << 20


@dataclass(frozen=True)
class Texts:
    """Lines in memory."""

    lines: list[str]

    def __len__(self) -> int:
        return len(self.lines)

    def sample(self, row: int, draw: int) -> str:
        """A line; ``draw`` is unused."""
        return self.lines[row]


class TextFile:
    """A text file of any size, cut into windows of whole lines.

    Args:
        name: path or fsspec URL.
        window_bytes: size of a window, a multiple of 4.

    Raises:
        DataError: the file cannot be read, or is empty.
    """

    group = 1

    def __init__(self, name: str, window_bytes: int = WINDOW_BYTES) -> None:
        self.name, self.window_bytes = name, window_bytes
        try:
            fs, path = fsspec.core.url_to_fs(name)
            self.size = int(fs.size(path))
        except (OSError, ValueError) as error:
            raise DataError(f"{name} cannot be read: {error}") from error
        if not self.size:
            raise DataError(f"{name} is empty: give a file with a caption on each line")

    def __len__(self) -> int:
        return -(-self.size // self.window_bytes)

    def read(self, number: int) -> Texts:
        """The lines that begin in one window.

        Raises:
            DataError: the file cannot be read, or is not UTF-8.
        """
        try:
            with fsspec.open(self.name, "rb") as file:
                encoding = encoding_of(file.read(4))
                start, end = (
                    next_line(file, edge, encoding) if edge else 0
                    for edge in (number * self.window_bytes, (number + 1) * self.window_bytes)
                )
                file.seek(start)
                text = encoding.text(file.read(end - start))
            if has_many_nuls(text):
                check_text(self.name)
        except UnicodeDecodeError as error:
            check_text(self.name)  # raises an error that names the line
            raise DataError(f"{self.name} cannot be read: {error}") from error
        except OSError as error:
            raise DataError(f"{self.name} cannot be read: {error}") from error
        lines = text.splitlines()
        return Texts([clean_caption(line) for line in lines if line.strip()])
