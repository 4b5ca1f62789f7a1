"""Decodes untrusted images: their cost is read from their headers, and few large ones are decoded at once."""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from clipgpt_retrieval.back.batching import CURRENT_DEADLINE
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.data.pixels import upright_8_bit
from clipgpt_retrieval.errors import BusyError, InputError, TooLargeError

MAX_ASPECT_RATIO = 50
"""Long side over short side. CLIP's preprocessing scales the short side to a fixed length before it crops, so that an
image of 1 x 10,000 pixels would take gigabytes."""

MAX_SCANS = 100
"""Scans of a progressive JPEG, each of which visits every pixel; libtiff has the same limit, and cameras write about
ten."""

MAX_SCANNED_PIXELS = 2 * 10**9
"""Pixels of a progressive JPEG times its scans."""

MAX_SEGMENTS = 10_000
"""Marker segments of a JPEG, which take time to read even where they are empty."""

BYTES_PER_PIXEL = 16
"""The most that decoding takes: Pillow's WebP decoder keeps four copies of the canvas, with four bytes a pixel."""

DECODING_BYTES = 2**30
"""Memory for all images that are decoded at once; an image that takes more is decoded alone."""

# Pillow reads more formats, some of them (EPS) by starting other programs.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]

_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # 00 and D0 to D7 belong to the data of a scan
_START_OF_SCAN, _END = b"\xda", b"\xd9"
_STANDALONE = (b"\x01", b"\xd8")


class MemoryBudget:
    """Memory that threads share: who needs more than is left waits.

    Args:
        total: bytes. A reservation of more waits until it is the only one.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._reserved = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Reserves ``size`` bytes while the context lasts.

        Raises:
            BusyError: the deadline of the current request passed before they were free.
        """
        size = min(size, self._total)
        seconds = min(CURRENT_DEADLINE.get().seconds_left(), threading.TIMEOUT_MAX)
        with self._changed:
            if not self._changed.wait_for(lambda: self._reserved + size <= self._total, seconds):
                raise BusyError("too many large images are decoded at once")
            self._reserved += size
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= size
                self._changed.notify_all()


_MEMORY = MemoryBudget(DECODING_BYTES)


@contextmanager
def decoded(data: bytes, field: str, limits: Limits) -> Iterator[Image.Image]:
    """An image, upright and with 8 bits a channel, for as long as the context lasts: its memory is counted.

    Args:
        data: the encoded image.
        field: the request field that errors name.
        limits: the largest image accepted.

    Raises:
        InputError: not an image.
        TooLargeError: too many bytes, pixels or scans, or too large an aspect ratio.
        BusyError: other large images are decoded until the request's deadline.
    """
    check_bytes(len(data), field, limits)
    with _readable(field, limits):
        width, height = _checked_canvas(data, field, limits)
    with _MEMORY.reserve(width * height * BYTES_PER_PIXEL):
        with _readable(field, limits):
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_size(image.size, field, limits)
            image.load()
        try:
            image = upright_8_bit(image)
        except ValueError as error:
            raise InputError(field, str(error)) from error
        yield image


def check_bytes(size: int, field: str, limits: Limits) -> None:
    """Raises TooLargeError if an encoded image has more bytes than the limit."""
    if size > limits.max_image_bytes:
        raise TooLargeError(field, f"has more than {limits.max_image_bytes} bytes")


@contextmanager
def _readable(field: str, limits: Limits) -> Iterator[None]:
    """Turns the errors of decoders into ours."""
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(field, limits) from error
    except Exception as error:  # decoders raise exceptions of many kinds on invalid data
        raise InputError(field, f"is not a readable image ({', '.join(FORMATS)})") from error


def _too_many_pixels(field: str, limits: Limits) -> TooLargeError:
    return TooLargeError(field, f"has more than {limits.max_image_pixels} pixels")


def _checked_canvas(data: bytes, field: str, limits: Limits) -> tuple[int, int]:
    """Width and height from the headers, before anything is decoded.

    Raises:
        TooLargeError: too much work for the decoder.
    """
    size = _webp_canvas(data)  # Pillow allocates it when it opens the file
    if size is not None:
        _check_size(size, field, limits)
        return size
    image: Any = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_size(image.size, field, limits)
    if image.format in ("JPEG", "MPO"):
        _check_scans(data, image.width * image.height, field)
    elif image.format == "TIFF":
        tile = (image.tag_v2.get(_TILE_WIDTH, 1), image.tag_v2.get(_TILE_HEIGHT, 1))
        if tile[0] * tile[1] > limits.max_image_pixels:  # a tile is decoded whole, however small the image
            raise _too_many_pixels(field, limits)
    return image.size


def _check_size(size: tuple[int, int], field: str, limits: Limits) -> None:
    if size[0] * size[1] > limits.max_image_pixels:
        raise _too_many_pixels(field, limits)
    short, long = sorted(size)
    if long > MAX_ASPECT_RATIO * short:
        raise TooLargeError(field, f"has an aspect ratio above {MAX_ASPECT_RATIO}: crop it")


def _webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP file, None for other formats.

    Raises:
        ValueError: a WebP file without a size.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    chunk = data[12:16]
    if chunk == b"VP8X":  # extended: the canvas of an animation, or of an image with metadata
        width, height = data[24:27], data[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = data[26:28], data[28:30]
        return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
    raise ValueError("no size in the first chunk")


def _check_scans(data: bytes, pixels: int, field: str) -> None:
    """Raises TooLargeError if a JPEG has more scans, or more scanned pixels, than a camera writes."""
    position = scans = segments = 0
    while (found := _MARKER.search(data, position)) and found[1] != _END:
        position = found.end()
        if found[1] in _STANDALONE:
            continue
        segments += 1
        scans += found[1] == _START_OF_SCAN
        if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_PIXELS or segments > MAX_SEGMENTS:
            raise TooLargeError(field, "is a JPEG with too many scans: save it again, without the progressive option")
        position += int.from_bytes(data[position : position + 2], "big")
