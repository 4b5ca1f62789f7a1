"""Images reach CLIP and the page upright and with 8 bits a channel: 16-bit photographs became white."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps

from clipgpt_retrieval.data.pixels import upright_8_bit

ORIENTATION = 0x0112

pixels_8_bit = arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5)))


def stored(image, kind, **options):
    """An image as it comes from a file."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return Image.open(data)


@settings(deadline=None, derandomize=True)
@given(pixels=pixels_8_bit, kind=st.sampled_from(["PNG", "TIFF"]))
def test_a_16_bit_image_is_the_8_bit_image(pixels, kind):
    image = upright_8_bit(stored(Image.fromarray(pixels.astype(np.uint16) * 257), kind))
    np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[..., 0], pixels)


@settings(deadline=None, derandomize=True)
@given(
    pixels=pixels_8_bit,
    change=st.sampled_from([(1 / 255, np.float32), (1, np.float32), (257, np.float32), (257, np.int32), (1, np.int32)]),
)
def test_integers_and_floats_of_the_usual_ranges_keep_their_brightness(pixels, change):
    pixels[0, 0] = 255  # white shows the range
    scale, dtype = change
    image = upright_8_bit(stored(Image.fromarray((pixels.astype(np.float64) * scale).astype(dtype)), "TIFF"))
    np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[..., 0], pixels)


@settings(deadline=None, derandomize=True)
@given(values=arrays.arrays(np.float32, (3, 4), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_other_ranges_are_scaled_in_order(values):
    image = np.asarray(upright_8_bit(Image.fromarray(values)))
    order = np.argsort(values, axis=None, kind="stable")
    assert image.dtype == np.uint8
    assert (np.diff(image.ravel()[order].astype(int)) >= 0).all()


def test_large_integers_are_read_without_a_sign():
    """Pillow reads unsigned 32-bit integers as signed: the brightest pixels became black."""
    data = io.BytesIO()
    values = np.array([[0, 2**31, 2**32 - 1]], np.uint32)
    Image.fromarray(values.view(np.int32)).save(data, "TIFF")
    signed, unsigned = (struct.pack("<HHIHH", 339, 3, 1, sample_format, 0) for sample_format in (2, 1))
    assert data.getvalue().count(signed) == 1
    image = Image.open(io.BytesIO(data.getvalue().replace(signed, unsigned)))
    np.testing.assert_array_equal(np.asarray(upright_8_bit(image)), [[0, 128, 255]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="NaN or infinite: save it with 8 or 16 bits"):
        upright_8_bit(Image.fromarray(np.array([[0, value]], np.float32)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_upright(kind, orientation):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8] = 255  # one corner is white
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = stored(Image.fromarray(pixels), kind, exif=exif)
    image = np.asarray(upright_8_bit(file).convert("L"))
    expected = np.asarray(ImageOps.exif_transpose(stored(Image.fromarray(pixels), kind, exif=exif)).convert("L"))
    np.testing.assert_array_equal(image, expected)
    assert image.shape == ((16, 32) if orientation <= 4 else (32, 16))


def test_invalid_exif_data_count_as_none():
    file = stored(Image.new("RGB", (4, 2)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(40)))
    assert upright_8_bit(file).size == (4, 2)


def test_other_modes_are_kept():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"):
        assert upright_8_bit(Image.new(mode, (2, 2))).mode == mode
    with pytest.raises(ValueError, match="save it as RGB"):
        upright_8_bit(Image.new("LAB", (2, 2)))
