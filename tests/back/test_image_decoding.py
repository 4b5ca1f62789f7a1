"""Small files that would take gigabytes or minutes to decode are refused, and images are read as people see them."""

import base64
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import open_clip
import pytest
from clip_retrieval.clip_inference.reader import get_image_dataset
from PIL import Image

from clipgpt_retrieval.back.batching import CURRENT_DEADLINE, Deadline
from clipgpt_retrieval.back.image_decoding import MemoryBudget, decoded
from clipgpt_retrieval.back.limits import BYTES_PER_PIXEL, Limits
from clipgpt_retrieval.errors import BusyError, InputError, TooLargeError

ORIENTATION = 0x0112
QUARTER_TURN = 6


def in_format(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def animated_webp(width, height):
    """An animation of one frame of 2 x 2 pixels on a canvas of any size."""
    frame = in_format(Image.new("RGB", (2, 2)), "WEBP", lossless=True)[12:]
    frame = struct.pack("<6sHBHB3sB", bytes(6), 1, 0, 1, 0, b"\x64\0\0", 0) + frame
    canvas = b"\x12\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = [(b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame)]
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(content)) + content for name, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def progressive_jpeg(size, scans):
    """A JPEG whose last scan is repeated."""
    data = in_format(Image.new("L", size, 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


def tiled_tiff(side):
    """An image of 8 x 8 pixels in a tile of any size, which is decompressed whole."""
    tile = zlib.compress(bytes(side * 8))
    tags = [(256, 8), (257, 8), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side)]
    offset = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags += [(324, offset), (325, len(tile))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tile


def open_(data, **limits):
    with decoded(data, "image", Limits(**limits)) as image:
        return image.copy()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (animated_webp(5700, 5700), "more than 32000000 pixels"),
        (progressive_jpeg((64, 64), 3000), "too many scans"),
        (progressive_jpeg((6000, 6000), 80), "too many scans"),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 20_000 + in_format(Image.new("L", (8, 8)), "JPEG")[2:], "too many scans"),
        (tiled_tiff(2**15), "more than 64000000 pixels"),
        (in_format(Image.new("1", (20_000, 20_000)), "PNG"), "more than 64000000 pixels"),
    ],
    ids=["canvas of WebP", "scans", "scanned pixels", "segments", "tile", "PNG"],
)
def test_image_bombs_are_refused_before_they_are_decoded(data, message, monkeypatch):
    """Each is a few hundred kilobytes at most, and took up to 9 GB or 20 minutes."""
    assert len(data) < 2**20
    loaded = []
    monkeypatch.setattr(Image.Image, "load", loaded.append)
    with pytest.raises(TooLargeError, match=message):
        open_(data)
    assert not loaded


def test_honest_images_of_these_kinds_are_accepted():
    assert open_(animated_webp(30, 20)).size == (30, 20)
    photograph = Image.effect_noise((80, 60), 90).convert("RGB")
    assert open_(in_format(photograph, "JPEG", progressive=True)).size == (80, 60)
    assert open_(progressive_jpeg((64, 64), 60)).size == (64, 64)
    pages = in_format(photograph, "MPO", save_all=True, append_images=[photograph] * 3)
    assert open_(pages).size == (80, 60)
    for kind in ({"lossless": True}, {"quality": 50}, {"lossless": True, "exif": Image.Exif()}):
        assert open_(in_format(photograph.resize((33, 21)), "WEBP", **kind)).size == (33, 21)


@pytest.mark.parametrize("kind", [{"lossless": True}, {"quality": 50}])
def test_the_size_of_a_webp_is_read_from_its_header(kind):
    data = in_format(Image.new("RGB", (110, 100)), "WEBP", **kind)
    assert open_(data, max_image_pixels=22_000).size == (110, 100)
    with pytest.raises(TooLargeError, match="more than 10999 pixels"):
        open_(data, max_image_pixels=21_999)
    with pytest.raises(InputError, match="not a readable image"):
        open_(data[:12] + b"ABCD" + data[16:])


def test_large_images_are_decoded_one_after_the_other():
    """Eight at once took 9 GB."""
    limits = Limits(max_image_pixels=20_000)
    data = in_format(Image.new("RGB", (100, 101)), "PNG")
    token = CURRENT_DEADLINE.set(Deadline(at=0))  # a request that cannot wait
    try:
        with decoded(data, "image", limits), pytest.raises(BusyError), decoded(data, "image", limits):
            pass
        with decoded(data, "image", limits) as image:
            assert image.size == (100, 101)
    finally:
        CURRENT_DEADLINE.reset(token)


def test_an_image_that_waits_for_memory_beyond_the_deadline_is_refused_politely():
    budget = MemoryBudget()
    token = CURRENT_DEADLINE.set(Deadline(at=0))
    try:
        with budget.reserve(60, 100):
            with budget.reserve(40, 100):
                pass
            with pytest.raises(BusyError), budget.reserve(41, 100):
                pass
    finally:
        CURRENT_DEADLINE.reset(token)
    with budget.reserve(100, 100):
        pass


PEAKS = """
import os, sys
from pathlib import Path
from PIL import Image
from clipgpt_retrieval.back.image_decoding import decoded
from clipgpt_retrieval.back.limits import Limits
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
Image.init()
for path in sys.argv[1:]:
    if os.fork() == 0:
        data, before = Path(path).read_bytes(), peak()
        with decoded(data, "image", Limits()) as image:
            image.convert("RGB")
        print(peak() - before, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_no_image_takes_more_memory_than_is_counted(tmp_path):
    """Many at once would take gigabytes."""
    counted = {("RGB", "WEBP"): 16, ("RGB", "PNG"): 8, ("I;16", "PNG"): 14, ("F", "TIFF"): 17}
    side, paths = 3000, []
    for (mode, kind), bytes_per_pixel in counted.items():
        data = in_format(Image.new(mode, (side, side)), kind, compression="tiff_lzw")  # other formats ignore it
        paths.append(tmp_path / f"{mode}.{kind}")
        paths[-1].write_bytes(data)
        with (
            pytest.raises(TooLargeError),
            decoded(data, "image", Limits(max_image_pixels=side * side * bytes_per_pixel // BYTES_PER_PIXEL - 1)),
        ):
            pass
    done = subprocess.run([sys.executable, "-c", PEAKS, *paths], capture_output=True, text=True, check=True)
    for line, bytes_per_pixel in zip(done.stdout.split(), counted.values(), strict=True):
        assert int(line) < bytes_per_pixel * side * side + 2**24  # 16 MiB: what is imported meanwhile


def test_a_large_photograph_is_decoded_at_half_its_size():
    """One of 50 million pixels, as telephones take them, would take 400 MB."""
    data = in_format(Image.new("RGB", (4002, 4000), "gray"), "JPEG", exif=quarter_turn())
    assert open_(data).size == (2000, 2001)
    assert open_(in_format(Image.new("RGB", (4000, 4000)), "JPEG")).size == (4000, 4000)


def quarter_turn():
    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    return exif


@pytest.fixture(scope="module")
def photograph():
    values = np.random.default_rng(0).integers(0, 256, (40, 64), np.uint8)
    return Image.fromarray(values).resize((96, 60), Image.Resampling.BICUBIC)


def hits(http, data):
    response = http.post("/knn-service", json={"image": base64.b64encode(data).decode(), "num_images": 10})
    assert response.status_code == 200, response.json
    return [(hit["id"], hit["similarity"]) for hit in response.json]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_16_bit_image_finds_what_the_same_image_with_8_bits_finds(http, photograph, kind):
    """It was white before CLIP saw it."""
    wide = Image.fromarray(np.asarray(photograph).astype(np.uint16) * 257)
    assert hits(http, in_format(wide, kind)) == hits(http, in_format(photograph, "PNG"))


def test_a_float_image_finds_what_the_same_image_with_8_bits_finds(http, photograph):
    floats = np.asarray(photograph).astype(np.float32)
    floats[0, 0] = 255
    expected = hits(http, in_format(Image.fromarray(floats.astype(np.uint8)), "PNG"))
    assert hits(http, in_format(Image.fromarray(floats / 255), "TIFF")) == expected
    floats[0, 0] = np.nan
    sent = base64.b64encode(in_format(Image.fromarray(floats), "TIFF")).decode()
    response = http.post("/knn-service", json={"image": sent})
    assert response.status_code == 400
    assert "NaN" in response.json["error"]["message"]


def test_a_rotated_photograph_finds_what_the_upright_one_finds(http, photograph):
    """Phones store pixels as the sensor has them, and how to turn them as EXIF."""
    exif = quarter_turn()
    sideways = photograph.transpose(Image.Transpose.ROTATE_90)
    upright = hits(http, in_format(photograph, "PNG"))
    assert hits(http, in_format(sideways, "PNG", exif=exif)) == upright
    assert hits(http, in_format(sideways, "PNG")) != upright


def test_inference_of_clip_retrieval_neither_rotates_nor_scales(tmp_path, photograph):
    """As docs/your_images.md states: their images must be upright and have 8 bits."""
    exif = quarter_turn()
    sideways = photograph.transpose(Image.Transpose.ROTATE_90)
    sideways.save(tmp_path / "a.png", exif=exif)
    sideways.save(tmp_path / "b.png")
    wide = np.maximum(np.asarray(photograph).astype(np.uint16) * 257, 256)
    Image.fromarray(wide).save(tmp_path / "c.png")
    Image.new("L", photograph.size, 255).save(tmp_path / "d.png")
    transform = open_clip.image_transform(32, is_train=False)
    dataset = get_image_dataset()(transform, None, tmp_path, enable_text=False)
    with_exif, without, sixteen_bits, white = (row["image_tensor"] for row in dataset)
    assert (with_exif == without).all()
    assert (sixteen_bits == white).all()
