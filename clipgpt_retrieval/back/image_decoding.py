"""Decodes untrusted images: their cost is read from their headers, and few large ones are decoded at once."""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from clipgpt_retrieval.back.batching import CURRENT_DEADLINE
from clipgpt_retrieval.back.limits import BYTES_PER_PIXEL, Limits
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

WEBP_BYTES_PER_PIXEL = 16
"""Memory of Pillow's WebP decoder, which keeps four copies of the canvas, with four bytes a pixel."""

MODE_BYTES_PER_PIXEL = {"I;16": 14, "I;16B": 14, "I;16L": 14, "I": 17, "F": 17}
"""Memory of reading other formats and scaling their pixels to 8 bits, by Pillow's mode (measured)."""

FULL_JPEG_PIXELS = 16_000_000
"""A larger JPEG is decoded at a half, a quarter or an eighth of its width, which takes as much less memory."""

# Pillow reads more formats, some of them (EPS) by starting other programs.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]

_JPEG = ("JPEG", "MPO")
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # 00 and D0 to D7 belong to the data of a scan
_START_OF_SCAN, _END = b"\xda", b"\xd9"
_STANDALONE = (b"\x01", b"\xd8")


class MemoryBudget:
    """Memory that threads share: who needs more than is left waits."""

    def __init__(self) -> None:
        self._reserved = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int, total: int) -> Iterator[None]:
        """Reserves ``size`` of ``total`` bytes while the context lasts.

        Raises:
            BusyError: the deadline of the current request passed before they were free.
        """
        seconds = min(CURRENT_DEADLINE.get().seconds_left(), threading.TIMEOUT_MAX)
        with self._changed:
            if not self._changed.wait_for(lambda: self._reserved + size <= total, seconds):
                raise BusyError("too many large images are decoded at once")
            self._reserved += size
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= size
                self._changed.notify_all()


_MEMORY = MemoryBudget()


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
        size = _checked_bytes(data, field, limits)
    with _MEMORY.reserve(size, limits.decoding_bytes):
        with _readable(field, limits):
            image = _loaded(data, field, limits)
        try:
            image = upright_8_bit(image)
        except ValueError as error:
            raise InputError(field, str(error)) from error
        try:
            yield image
        finally:
            image.close()  # the caller's variable would keep the pixels beyond the reservation


def _loaded(data: bytes, field: str, limits: Limits) -> Image.Image:
    """The image, separate from its decoder, whose memory would otherwise last as long as the image."""
    opened: Any = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_size(opened.size, field, limits)
    if opened.format in _JPEG:
        opened.draft(None, _draft_size(opened))
    opened.load()
    return opened.copy() if opened.format == "WEBP" else opened


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
        raise _too_many_pixels(field, limits.max_image_pixels) from error
    except Exception as error:  # decoders raise exceptions of many kinds on invalid data
        raise InputError(field, f"is not a readable image ({', '.join(FORMATS)})") from error


def _too_many_pixels(field: str, largest: int) -> TooLargeError:
    return TooLargeError(field, f"has more than {largest} pixels")


def _checked_bytes(data: bytes, field: str, limits: Limits) -> int:
    """The memory that decoding takes, from the headers, before anything is decoded.

    Raises:
        TooLargeError: too much memory or work for the decoder.
    """
    size = _webp_canvas(data)  # Pillow allocates it when it opens the file
    if size is not None:
        return _check_size(size, field, limits, WEBP_BYTES_PER_PIXEL)
    image: Any = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.format in _JPEG:
        _check_scans(data, image.width * image.height, field)
        return _check_size(image.size, field, limits, _jpeg_bytes(image) / (image.width * image.height))
    if image.format == "TIFF":
        tile = (image.tag_v2.get(_TILE_WIDTH, 1), image.tag_v2.get(_TILE_HEIGHT, 1))
        if tile[0] * tile[1] > limits.max_image_pixels:  # a tile is decoded whole, however small the image
            raise _too_many_pixels(field, limits.max_image_pixels)
    return _check_size(image.size, field, limits, MODE_BYTES_PER_PIXEL.get(image.mode, BYTES_PER_PIXEL))


def _jpeg_bytes(image: Image.Image) -> int:
    """The memory that decoding a JPEG takes: its pixels, reduced, and all coefficients of a progressive one."""
    width, height = _draft_size(image)
    coefficients = 2 * len(image.getbands()) * image.width * image.height if image.info.get("progressive") else 0
    return BYTES_PER_PIXEL * width * height + coefficients


def _draft_size(image: Image.Image) -> tuple[int, int]:
    """The size at which a JPEG is decoded."""
    scale = 1
    while image.width * image.height > FULL_JPEG_PIXELS * scale**2 and scale < 8:
        scale *= 2
    return image.width // scale, image.height // scale


def _check_size(size: tuple[int, int], field: str, limits: Limits, bytes_per_pixel: float = BYTES_PER_PIXEL) -> int:
    """The memory that an image of a size takes.

    Raises:
        TooLargeError: too much of it, or too large an aspect ratio.
    """
    pixels = size[0] * size[1]
    largest = min(limits.max_image_pixels, int(limits.decoding_bytes / bytes_per_pixel))
    if pixels > largest:
        raise _too_many_pixels(field, largest)
    short, long = sorted(size)
    if long > MAX_ASPECT_RATIO * short:
        raise TooLargeError(field, f"has an aspect ratio above {MAX_ASPECT_RATIO}: crop it")
    return int(pixels * bytes_per_pixel)


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
