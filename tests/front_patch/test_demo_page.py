"""The page of the demo, whose results can be checked against the scenes that were drawn."""

import re

import pytest
from browsing import add_to_query, open_page, search, shown_ids, tiles
from playwright.sync_api import expect

from clipgpt_retrieval.demo.search import EDITS, NOTEBOOK_EXAMPLES

pytestmark = pytest.mark.slow


def test_from_a_text_to_its_image_to_a_change_of_it(page, demo_server, demo_scenes):
    open_page(page, demo_server.url)
    search(page, NOTEBOOK_EXAMPLES[3])
    source = demo_scenes[shown_ids(page)[0]]
    assert source.count_of("giraffe") and source.count_of("fence")
    expect(page.locator(".readback q")).to_contain_text("giraffe")
    page.locator("#query-text").fill(EDITS[0][1])
    add_to_query(page, 0)
    changed = [demo_scenes[item] for item in shown_ids(page)[:3]]
    assert any(scene.night and scene.count_of("giraffe") for scene in changed), changed


def test_a_caption_names_what_is_in_the_image(page, demo_server, demo_scenes):
    open_page(page, demo_server.url)
    search(page, "a piece of cake and a fork on a table")
    page.get_by_text("Caption these").click()
    expect(tiles(page).first.locator(".ours")).to_contain_text("on a")
    assert "cake" in tiles(page).first.locator(".ours").inner_text()


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("dog", True),
        ("kid with a book", True),
        ("two dogs on a beach", True),
        ("a bicycle without a rider", True),  # two bicycles in the mountains
        ("xyzzy plugh quux", False),
        ("submarine", False),
    ],
)
def test_a_query_without_a_match_gets_a_warning(page, demo_server, text, is_there):
    open_page(page, demo_server.url)
    search(page, text)
    readback = page.locator(".readback:not(.stale)")
    expect(readback).to_contain_text("Understood as")
    said = readback.inner_text()
    assert ("No close match" in said) != is_there, said
    numbers = re.findall(r"\d\.\d+", said)
    assert len(set(numbers)) == len(numbers) == (0 if is_there else 2)


def test_the_map_has_the_positions_of_the_collection(page, demo_server):
    open_page(page, f"{demo_server.url}/?view=explore")
    page.locator(".point").first.wait_for(timeout=60_000)
    titles = " ".join(page.locator(".contents .title").all_inner_texts())
    assert (
        sum(place in titles for place in ("beach", "forest", "snow", "table", "street", "desert", "sea", "farm")) >= 4
    )
    page.locator(".contents .title").first.click()
    expect(page.locator(".images .tile").first).to_be_visible()
