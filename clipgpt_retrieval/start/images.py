"""The images of a folder with their captions, as clip-retrieval and img2dataset lay them out."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipgpt_retrieval.data.text_encoding import read_text
from clipgpt_retrieval.errors import DataError, InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class ImageFile:
    """An image of the folder.

    Attributes:
        name: path below the folder, with forward slashes.
        size: bytes.
        modified: time of the last modification, in nanoseconds.
    """

    name: str
    size: int
    modified: int


def find_images(folder: Path, left_out: Path) -> list[ImageFile]:
    """The images of a folder and its subfolders, sorted by name; hidden files and folders are left out.

    Args:
        folder: an existing folder.
        left_out: a folder that is not searched.

    Raises:
        InputError: there is no image.
    """
    found = sorted(_walk(folder, left_out), key=lambda image: image.name)
    if not found:
        raise InputError("images", f"{folder} has no images ({', '.join(SUFFIXES)}): give a folder with images")
    return found


def _walk(folder: Path, left_out: Path) -> Iterator[ImageFile]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(place, name) != left_out]
        for name in files:
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            path = Path(place, name)
            try:
                stat = path.stat()
            except OSError:  # a link to nothing, or removed since
                continue
            yield ImageFile(path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns)


def caption_of(image: Path) -> str | None:
    """The caption in the text file beside an image, else in its JSON file; None where there is none.

    Raises:
        DataError: the file is not text of a known encoding, or not JSON.
    """
    text, data = image.with_suffix(".txt"), image.with_suffix(".json")
    try:
        if text.is_file():
            return read_text(str(text)).strip() or None
        if not data.is_file():
            return None
        fields = json.loads(read_text(str(data)))
    except OSError as error:
        raise DataError(f"the caption of {image} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{data} is not valid JSON: {error}") from error
    caption = fields.get("caption") if isinstance(fields, dict) else None
    return (caption.strip() or None) if isinstance(caption, str) else None
