"""Results whose images nobody can read, as of metadata with bare file names: the page must not look empty."""

import json
from collections.abc import Iterator
from pathlib import Path

import faiss
import pandas as pd
import pytest
from browsing import open_page, open_result, results_of, search, shown_ids, tiles
from playwright.sync_api import expect
from support import served

COUNT = 60
COLUMNS = {
    "caption and name": lambda item: {"caption": f"caption {item}", "image_path": f"{item:012}.jpg"},
    "name": lambda item: {"image_path": f"{item:012}.jpg"},
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bare_url(tmp_path_factory, shapes_embeddings, clipgpt_path, clip_model, offline_flags) -> Iterator[str]:
    """A back end with an index for each of `COLUMNS`."""
    from clipgpt_retrieval.back import create_app

    folder = tmp_path_factory.mktemp("bare")
    index = faiss.IndexFlatIP(shapes_embeddings.shape[1])
    index.add(shapes_embeddings[:COUNT])
    for name, row in COLUMNS.items():
        metadata = folder / name / "metadata"
        metadata.mkdir(parents=True)
        pd.DataFrame([row(item) for item in range(COUNT)]).to_parquet(metadata / "metadata_0.parquet")
        faiss.write_index(index, str(folder / name / "image.index"))
    indices = Path(folder / "indices.json")
    indices.write_text(json.dumps({name: str(folder / name) for name in COLUMNS}))
    flags = {"clipgpt_model": clipgpt_path, "clip_model": clip_model, **offline_flags}
    with served(create_app(indices_paths=str(indices), **flags)) as url:
        yield url


@pytest.mark.parametrize("index", COLUMNS)
@pytest.mark.parametrize("width", [1280, 390])
def test_every_result_is_a_tile_with_its_caption_and_id(page, bare_url, index, width):
    page.set_viewport_size({"width": width, "height": 800})
    open_page(page, f"{bare_url}/?index={index}&hideDuplicateImages=false")
    search(page, "a red circle")
    page.mouse.wheel(0, 100_000)  # the others are loaded while the user scrolls
    expect(tiles(page)).to_have_count(COUNT)
    ids = shown_ids(page)
    assert len(set(ids)) == COUNT
    for position in (0, COUNT - 1):
        tile = tiles(page).nth(position)
        expect(tile).to_be_visible()
        expect(tile).to_contain_text(f"image {ids[position]} · {ids[position]:012}.jpg")
        expect(tile).to_contain_text(f"caption {ids[position]}" if "caption" in index else "no caption")
        assert tile.evaluate("(tile) => tile.scrollWidth <= tile.clientWidth")


def test_a_tile_without_an_image_is_captioned_and_searched_with(page, bare_url):
    open_page(page, f"{bare_url}/?index=caption and name&hideDuplicateImages=false")
    search(page, "a red circle")
    near = shown_ids(page)[2]
    detail = open_result(page, 2)
    expect(detail.locator(".large")).to_contain_text(f"caption {near}")
    expect(detail.locator(".captions .ours").first).to_be_visible()
    with results_of(page):
        detail.get_by_role("button", name="Search with it").click()
    assert shown_ids(page)[0] == near
    expect(tiles(page).first).to_contain_text(f"caption {near}")
