"""Images starred over several searches, in a real Chromium against a real back end."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from browsing import choose, open_page, open_result, results_of, search, sent_to, shown_ids, tiles
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_images_of_two_searches_are_seen_together_exported_and_searched_with(page, front_url, shapes_embeddings):
    open_page(page, front_url)
    search(page, "a red circle")
    starred = [shown_ids(page)[0]]
    tiles(page).first.hover()
    tiles(page).first.get_by_role("button", name="Star").click()
    search(page, "a blue square")
    other = next(position for position, item in enumerate(shown_ids(page)) if item not in starred)
    starred.append(shown_ids(page)[other])
    open_result(page, other).locator(".tools").get_by_role("button", name="Star").click()
    page.keyboard.press("Escape")
    page.reload()  # they are kept
    choose(page, "Starred")
    shown = page.locator(".starred .tile")
    expect(shown).to_have_count(2)
    assert shown.evaluate_all("(all) => all.map(({dataset}) => Number(dataset.id))") == starred

    def exported(name):
        page.locator(".starred").get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.locator(".starred").get_by_role("button", name=name, exact=True).click()
        return Path(download.value.path()).read_bytes()

    assert [row["id"] for row in json.loads(exported("JSON"))] == starred
    assert [row["id"] for row in csv.DictReader(io.StringIO(exported("CSV").decode()))] == list(map(str, starred))
    table = pq.read_table(io.BytesIO(exported("Parquet")))
    assert table["id"].to_pylist() == starred
    np.testing.assert_allclose(table["embedding"].to_pylist(), shapes_embeddings[starred], atol=1e-6)
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.get_by_role("button", name="Search with these").click()
    assert bodies[0]["segments"] == [{"id": item} for item in starred]


def test_a_link_to_starred_images_adds_them(page, browser, front_url):
    open_page(page, f"{front_url}/?view=starred&starred=3.17")
    expect(page.locator(".starred .tile")).to_have_count(2)
    page.locator(".starred .tile").first.hover()
    page.locator(".starred .tile").first.get_by_role("button", name="Remove the star").click()
    expect(page.locator(".starred .tile")).to_have_count(1)
    assert "starred=17" in page.url
    page.get_by_role("button", name="Remove all stars").click()
    expect(page.get_by_text("No image is starred yet.")).to_be_visible()


def test_the_stars_of_one_index_are_not_those_of_another(page, front_url):
    open_page(page, f"{front_url}/?view=starred&starred=3.17")
    expect(page.locator(".starred .tile")).to_have_count(2)
    page.get_by_label("Index", exact=True).select_option("plain")
    expect(page.get_by_text("No image is starred yet.")).to_be_visible()
