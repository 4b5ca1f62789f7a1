"""`clipgpt-retrieval start`: a folder of images becomes searchable, and only what is new costs anything again."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from support import BIN, ServerProcess

import clipgpt_retrieval as cg
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.start.clip import ImageTower
from clipgpt_retrieval.start.collection import collection_key, is_current, write_collection
from clipgpt_retrieval.start.command import start
from clipgpt_retrieval.start.embeddings import EmbeddingStore, Part, embed
from clipgpt_retrieval.start.images import ImageFile, caption_of, find_images


def started(folder: Path, *flags: object) -> ServerProcess:
    command = [BIN / "clipgpt-retrieval", "start", folder, "--clip_model", "demo", "--port", 0]
    return ServerProcess(*command, "--open_browser", "False", *flags)


def found(server: ServerProcess, text: str, count: int) -> list[str]:
    """The names of the images that a text finds, best first."""
    request = {"text": text, "num_images": count, "modality": "image", "deduplicate": False, "indice_name": "photos"}
    response = requests.post(f"{server.url}/knn-service", json=request, timeout=60)
    response.raise_for_status()
    return [Path(hit["image_path"]).name for hit in response.json()]


@pytest.mark.slow
def test_a_folder_is_searched_and_started_again_for_what_is_new(demo_cache, demo_scenes, tmp_path):
    """First 40 images, one of them unreadable; then five more and one less; then nothing new."""
    images = sorted((cg.demo.path() / "images").glob("*.webp"))[:45]
    photos = tmp_path / "photos"
    photos.mkdir()
    for image in images[:40]:
        shutil.copy2(image, photos)
    (photos / "broken.jpg").write_bytes(b"not an image")
    (photos / images[0].with_suffix(".txt").name).write_text("my caption")
    with started(photos) as server:
        best = found(server, "a dog on the beach", 40)
        assert sorted(best) == [image.name for image in images[:40]]
    assert "embedded 40 images" in server.printed and "broken.jpg" in server.printed
    assert [row["caption"] for row in read_metadata(photos) if row["caption"]] == ["my caption"]

    shutil.move(photos / images[0].name, tmp_path)
    for image in images[40:]:
        shutil.copy2(image, photos)
    with started(photos) as server:
        best = found(server, "a dog on the beach", 45)
        assert sorted(best) == [image.name for image in images[1:]]
    assert "embedded 5 images" in server.printed, server.printed

    with started(photos) as server:
        assert found(server, "a dog on the beach", 45) == best
    assert "indexing" not in server.printed and "embedded 0 images" in server.printed


def read_metadata(photos: Path) -> list[dict]:
    import pandas as pd

    (folder,) = photos.glob(".clipgpt/demo-*/collection/metadata")
    rows = pd.read_parquet(folder)
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def test_bad_arguments_are_refused_before_any_work(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for flags, message in (
        ({"images": str(tmp_path / "none")}, "is not a folder"),
        ({"output_folder": str(tmp_path)}, "contains the images"),
        ({}, "has no images"),
        ({"model": "m", "backbone": "b"}, "give one of them"),
        ({"open_browser": "no"}, "True or False"),
    ):
        with pytest.raises(InputError, match=message):
            start(**{"images": str(photos), "port": 0, **flags})
    Image.new("RGB", (8, 8)).save(photos / "image.png")
    with pytest.raises(InputError, match="contains no CLIP"):
        start(images=str(photos), port=0, clip_model=str(tmp_path))


class CountingTower(ImageTower):
    """Counts what it embeds, and is interrupted after some images."""

    def __init__(self, clip_model: str, fail_after: int | None = None) -> None:
        super().__init__(clip_model)
        self.embedded = 0
        self._fail_after = fail_after

    def encode(self, pixels: list) -> np.ndarray:
        if self._fail_after is not None and self.embedded >= self._fail_after:
            raise KeyboardInterrupt
        self.embedded += len(pixels)
        return super().encode(pixels)


@pytest.fixture
def colors(tmp_path) -> Path:
    folder = tmp_path / "colors"
    folder.mkdir()
    for number in range(9):
        noise(number).save(folder / f"{number}.png")
    return folder


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)).resize((32, 32))


def search(folder: Path) -> list[ImageFile]:
    return find_images(folder, folder / ".clipgpt")


def test_an_interrupted_embedding_keeps_its_complete_parts(colors, tmp_path, monkeypatch, clip_model):
    monkeypatch.setattr("clipgpt_retrieval.start.embeddings.PART", 4)
    monkeypatch.setattr("clipgpt_retrieval.start.embeddings.BATCH", 2)
    store = EmbeddingStore(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        embed(colors, search(colors), CountingTower(clip_model, fail_after=6), store)
    missing = store.missing(search(colors))
    assert [image.name for image in missing] == ["4.png", "5.png", "6.png", "7.png", "8.png"]
    tower = CountingTower(clip_model)
    assert embed(colors, missing, tower, store) == [] and tower.embedded == 5
    check_embeddings(store, colors, tower)


def check_embeddings(store: EmbeddingStore, folder: Path, tower: ImageTower) -> None:
    """Each image has its own embedding, as the tower computes it alone."""
    parts = list(store.living(search(folder)))
    kept = {image.name: row for part in parts for image, row in zip(part.images, part.embeddings, strict=True)}
    names = [f"{number}.png" for number in range(9)]
    assert sorted(kept) == names
    alone = np.concatenate([tower.encode([tower.pixels(folder / name)]) for name in names])
    np.testing.assert_allclose(np.stack([kept[name] for name in names]), alone, atol=2e-3)
    assert len(np.unique(alone.round(3), axis=0)) == len(names)


def test_a_changed_image_is_embedded_again_and_a_damaged_part_too(colors, tmp_path, clip_model):
    store, tower = EmbeddingStore(tmp_path / "store"), ImageTower(clip_model)
    embed(colors, search(colors), tower, store)
    noise(99).save(colors / "3.png")
    os.utime(colors / "3.png", ns=(0, 10**18))
    (changed,) = store.missing(search(colors))
    embed(colors, [changed], tower, store)
    check_embeddings(store, colors, tower)
    first = min((tmp_path / "store").iterdir())
    first.write_bytes(first.read_bytes()[:100])
    assert len(store.missing(search(colors))) == 8


def test_hidden_files_and_the_output_are_no_images(colors):
    shutil.copytree(colors, colors / "kept" / "below")
    shutil.copytree(colors / "kept", colors / ".hidden")
    shutil.copytree(colors / "kept", colors / "output")
    names = [image.name for image in find_images(colors, colors / "output")]
    assert len(names) == 18 and "kept/below/0.png" in names
    with pytest.raises(InputError, match="has no images"):
        find_images(colors / "kept", colors / "kept" / "below")


def test_captions_are_read_as_clip_retrieval_and_img2dataset_lay_them_out(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffcafé \n".encode("utf-16-le"))
    (tmp_path / "b.json").write_text('{"caption": "from img2dataset", "url": "u"}')
    (tmp_path / "c.txt").write_text(" ")
    (tmp_path / "d.txt").write_bytes("café".encode("latin1"))
    (tmp_path / "e.json").write_text("{")
    assert [caption_of(tmp_path / f"{name}.jpg") for name in "abcx"] == ["café", "from img2dataset", None, None]
    for name in "de":
        with pytest.raises(DataError, match=rf"{name}\.(txt|json)"):
            caption_of(tmp_path / f"{name}.jpg")


def test_a_collection_is_written_once_and_for_readable_images_only(colors, tmp_path):
    store, images = EmbeddingStore(tmp_path / "store"), search(colors)
    collection = tmp_path / "collection"
    with pytest.raises(DataError, match="no image of"):
        write_collection(collection, colors, images, {}, store)
    assert not collection.exists()
    rows = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float16)
    store.add(Part(images, rows))
    assert write_collection(collection, colors, images[1:], {"2.png": "two"}, store) == 8
    key = collection_key(colors, images[1:], {"2.png": "two"})
    assert is_current(collection, key) and not is_current(collection, collection_key(colors, images, {}))


def test_a_photograph_is_embedded_upright(clip_model, tmp_path):
    """A phone stores a photograph sideways and records that in its EXIF data."""
    rows = np.random.default_rng(0).integers(0, 255, (40, 32, 3), dtype=np.uint8)
    upright = Image.fromarray(rows)
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.rotate(90, expand=True).save(tmp_path / "phone.png", exif=exif)
    tower = ImageTower(clip_model)
    pixels = [tower.pixels(tmp_path / f"{name}.png") for name in ("upright", "phone")]
    first, second = tower.encode(pixels).astype(np.float32)
    assert first @ second > 0.999
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    assert tower.pixels(tmp_path / "broken.png") is None
    with pytest.raises(InputError, match="--clip_model demo"):
        ImageTower("open_clip:no-such-model/none.pt")
