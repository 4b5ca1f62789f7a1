"""Results show the images of the collection, upright, and no other files of the machine."""

import base64
import io
import json
import logging
import os
from pathlib import Path

import faiss
import numpy as np
import pytest
from PIL import Image
from support import unit_rows

from clipgpt_retrieval.back import create_app
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.back.shown_images import ShownImages, default_roots
from clipgpt_retrieval.errors import InputError

ORIENTATION = 0x0112


class Rows:
    """A metadata provider."""

    def __init__(self, paths):
        self.paths = paths

    def get(self, ids, columns):
        return [dict.fromkeys(columns, self.paths[i]) for i in ids]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with images that nobody else should see."""
    home = tmp_path / "home" / "me"
    monkeypatch.setenv("HOME", str(home))
    for name in ("Desktop/private.png", "photos/2020/a.png", "photos/2021/b.png", "work/index/x"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), "red").save(home / name, "PNG")
    return home


def shown(home, paths, roots=None, limits=None):
    """Whether the image of each path is shown."""
    roots = roots or default_roots(home / "work" / "index", Rows(paths), len(paths))
    images = ShownImages("mine", roots, limits or Limits())
    return [images.jpeg(path) is not None for path in paths]


def test_the_images_of_a_collection_are_shown_wherever_they_are(home, monkeypatch):
    """clip-retrieval writes the paths of its input folder, which is rarely near the index."""
    files = [home / "photos" / "2020" / "a.png", home / "photos" / "2021" / "b.png"]
    assert shown(home, [str(file) for file in files]) == [True, True]
    assert shown(home, [os.fsencode(file) for file in files]) == [True, True]  # as hdf5 has them
    monkeypatch.chdir(home)
    assert (
        shown(home, ["photos/2020/a.png", "photos/2021/b.png", None, float("nan"), 3, ""]) == [True] * 2 + [False] * 4
    )
    link = home / "work" / "photos"
    link.symlink_to(home / "photos")
    assert shown(home, [str(link / "2020" / "a.png")]) == [True]


def test_foreign_paths_among_the_metadata_are_not_shown(home, caplog):
    """Metadata that somebody handed over."""
    files = [home / "photos" / "2020" / "a.png", home / "Desktop" / "private.png"]
    with caplog.at_level(logging.WARNING):
        assert shown(home, [str(file) for file in files]) == [False, False]
    assert "index 'mine'" in caplog.text
    assert "name its folder in --image_roots" in caplog.text
    assert shown(home, [str(file) for file in files], roots=[home / "photos"]) == [True, False]
    dotted = home / "photos" / ".." / "Desktop" / "private.png"
    link = home / "photos" / "link.png"
    link.symlink_to(files[1])
    assert shown(home, [str(dotted), str(link)], roots=[home / "photos"]) == [False, False]


@pytest.mark.parametrize("folder", ["/etc", "/proc/self/cwd", "/sys", "/"])
def test_system_folders_are_no_folders_of_a_collection(home, folder):
    roots = default_roots(home / "work" / "index", Rows([f"{folder}/x.png"] * 3), 3)
    assert roots[0] == (home / "work").resolve()
    assert not any(Path("/etc/x.png").is_relative_to(root) for root in roots)


def test_an_index_in_the_home_folder_does_not_open_it(home):
    assert default_roots(home / "index", Rows([]), 0) == [(home / "index").resolve()]


def test_only_regular_files_of_limited_size(home):
    folder = home / "photos"
    os.mkfifo(folder / "fifo.png")
    (folder / "folder.png").mkdir()
    Image.effect_noise((300, 300), 90).save(folder / "large.png")
    Image.new("RGB", (400, 300)).save(folder / "wide.png")
    paths = [str(folder / name) for name in ("fifo.png", "folder.png", "large.png", "wide.png", "2020/a.png")]
    limits = Limits(max_image_bytes=20_000, max_image_pixels=100_000)
    assert shown(home, paths, limits=limits) == [False] * 4 + [True]


@pytest.fixture(scope="module")
def make_http(tmp_path_factory, clipgpt_path, offline_flags):
    """Serves an index of images that lie in another folder: its test client, by flags."""
    import pandas as pd

    folder, index_folder = tmp_path_factory.mktemp("phone"), tmp_path_factory.mktemp("elsewhere") / "index"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    pixels = np.full((20, 30, 3), 200, np.uint8)
    Image.fromarray(pixels).save(folder / "rotated.jpg", exif=exif)
    Image.fromarray(np.full((20, 30), 128 * 257, np.uint16)).save(folder / "wide.png")
    paths = [str(folder / "rotated.jpg"), str(folder / "wide.png")]
    (index_folder / "metadata").mkdir(parents=True)
    pd.DataFrame({"image_path": paths, "caption": ["a", "b"]}).to_parquet(index_folder / "metadata/metadata_0.parquet")
    index = faiss.IndexFlatIP(64)
    index.add(unit_rows(2))
    faiss.write_index(index, str(index_folder / "image.index"))
    indices = index_folder.parent / "indices.json"
    indices.write_text(json.dumps({"phone": str(index_folder)}))
    flags = {"clipgpt_model": clipgpt_path, "load_clip": False, **offline_flags}
    return lambda **more: create_app(indices_paths=str(indices), **flags, **more).test_client()


def test_results_show_photographs_upright_and_16_bit_images_in_their_brightness(make_http):
    """One was shown sideways, the other white."""
    items = make_http().post("/metadata", json={"ids": [0, 1]}).json
    rotated, wide = (Image.open(io.BytesIO(base64.b64decode(item["metadata"]["image"]))) for item in items)
    assert rotated.size == (20, 30)
    assert not rotated.getexif()
    assert wide.size == (30, 20)
    assert abs(wide.convert("L").getpixel((5, 5)) - 128) <= 2


def test_the_flag_decides_where_it_is_given(make_http, tmp_path):
    hits = make_http(image_roots=str(tmp_path)).post("/knn-service", json={"text": "a"}).json
    assert [hit["caption"] for hit in hits]
    assert not any("image" in hit for hit in hits)
    with pytest.raises(InputError, match="is not a folder"):
        make_http(image_roots=f"{tmp_path},/nowhere")
