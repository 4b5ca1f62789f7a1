"""Images as CLIP and a screen expect them: upright, with 8 bits a channel."""

from typing import Any

import numpy as np
from PIL import Image, ImageOps

_BITS_PER_SAMPLE, _WHITE_IS_ZERO, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_UNSIGNED = 1


def upright_8_bit(image: Image.Image) -> Image.Image:
    """An image rotated by its EXIF orientation, with 8 bits a channel.

    16-bit images are scaled by the largest value of their format. Images of 32-bit integers and of floats have no fixed
    range: 0 to 1 (floats only), 0 to 255 and 0 to 65,535 are recognised, any other range is scaled to its least and
    largest value. Pillow's own conversion clips all of these at 255, so that a 16-bit photograph becomes white.

    Raises:
        ValueError: pixels are NaN or infinite, or cannot become RGB.
    """
    orient(image)
    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode in ("I", "F"):
        return Image.fromarray(_to_8_bit(_numbers(image)))
    if image.mode == "LAB":
        raise ValueError("is in the color space CIELAB: save it as RGB")
    return image


def orient(image: Image.Image) -> None:
    """Rotates an image in place by its EXIF orientation; invalid EXIF data counts as none."""
    image.load()
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # Pillow raises exceptions of many kinds on invalid EXIF data
        return


def _from_16_bit(image: Image.Image) -> Image.Image:
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    largest = 2**bits - 1  # 12 bits are read as 16, unscaled
    values = np.asarray(image).astype(np.uint32)  # [height, width]
    scaled = np.minimum((values * 255 + largest // 2) // largest, 255).astype(np.uint8)
    if tags.get(_WHITE_IS_ZERO) == 0:
        scaled = 255 - scaled
    return Image.fromarray(scaled)


def _numbers(image: Image.Image) -> np.ndarray:
    """The pixels of an image of mode I or F, ``[height, width]``."""
    values = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    is_unsigned = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED
    if image.mode == "I" and is_unsigned and tags.get(_BITS_PER_SAMPLE) == (32,):
        return values.view(np.uint32)  # Pillow reads them as signed
    return values


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Numbers of any range as uint8, of the same shape."""
    least, largest = float(values.min()), float(values.max())
    if not np.isfinite([least, largest]).all():
        raise ValueError("has pixels that are NaN or infinite: save it with 8 or 16 bits")
    ranges = [255.0, 65535.0]
    if values.dtype.kind == "f":
        ranges.insert(0, 1.0)
    top = next((top for top in ranges if least >= 0 and largest <= top), None)
    low, span = (0.0, top) if top is not None else (least, largest - least)
    scaled = np.subtract(values, low, dtype=np.float32 if span < 2**24 else np.float64)
    scaled *= 255 / (span or 1)
    return np.clip(np.rint(scaled, out=scaled), 0, 255).astype(np.uint8)
