"""Results whose images nobody can read, as of metadata with bare file names: the page must not look empty."""

import json
from collections.abc import Iterator
from pathlib import Path

import faiss
import pandas as pd
import pytest
from browsing import card, open_page, result_figures, results_of, search, shown_ids
from playwright.sync_api import expect
from support import served

COUNT = 60
LOADED = 40
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
def test_every_result_is_a_card_with_its_caption_and_id(page, bare_url, index, width):
    page.set_viewport_size({"width": width, "height": 800})
    open_page(page, f"{bare_url}/?index={index}&hideDuplicateImages=false")
    search(page, "a red circle")
    ids = shown_ids(page)
    assert len(ids) == COUNT
    expect(result_figures(page)).to_have_count(LOADED)
    page.mouse.wheel(0, 100_000)  # the others are loaded while the user scrolls
    expect(result_figures(page)).to_have_count(COUNT)
    for position in (0, COUNT - 1):
        figure = result_figures(page).nth(position)
        expect(figure).to_be_visible()
        expect(figure).to_contain_text(f"image {ids[position]} · {ids[position]:012}.jpg")
        expect(figure).to_contain_text(f"caption {ids[position]}" if "caption" in index else "no caption")
        shown = figure.locator(".no-image, figcaption")
        assert figure.bounding_box()["width"] >= max(shown.nth(part).bounding_box()["width"] for part in (0, 1))


def test_a_card_without_an_image_is_captioned_and_searched_with(page, bare_url):
    open_page(page, f"{bare_url}/?index=caption and name&hideDuplicateImages=false")
    search(page, "a red circle")
    near = shown_ids(page)[2]
    card(page, 2).get_by_label("Caption this image").click()
    expect(card(page, 2).locator(".caption")).to_be_visible()
    with results_of(page):
        card(page, 2).get_by_label("Images like this one").click()
    assert shown_ids(page)[0] == near
    expect(result_figures(page).first).to_contain_text(f"caption {near}")
