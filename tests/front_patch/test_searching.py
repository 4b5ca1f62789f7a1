"""Searches on the page, in a real Chromium against a real back end."""

import csv
import io
import json
import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from browsing import choose, open_page, open_result, results_of, search, sent_to, settings_of, shown_ids, tiles
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_the_encoder_of_a_text_is_clipgpt_clip_or_a_blend(page, front_url):
    open_page(page, front_url)
    found = {}
    with sent_to(page, "/knn-service") as bodies:
        search(page, "a red circle")
        found["CLIP-GPT"] = shown_ids(page)
        for name in ("CLIP", "Blend"):
            with results_of(page):
                page.get_by_label(name, exact=True).check(force=True)
            expect(page.get_by_label(name, exact=True)).to_be_checked()
            found[name] = shown_ids(page)
        with results_of(page):
            page.get_by_label("Weight of CLIP-GPT").fill("0.8")
    asked = [(body["use_clipgpt"], body.get("clipgpt_weight")) for body in bodies]
    assert asked == [(True, 1), (False, None), (True, 0.5), (True, 0.8)]
    assert found["CLIP-GPT"] != found["CLIP"]
    expect(page.get_by_text("80 % CLIP-GPT")).to_be_visible()
    expect(page.get_by_text("The mean of both, with a weight of your choice.")).to_be_visible()


def test_the_readback_of_a_query_is_shown(page, front_url, clipgpt):
    """With a model without thresholds: no match is reported."""
    open_page(page, front_url)
    search(page, "a red circle")
    understood = clipgpt.caption(clipgpt.encode(["a red circle"], space="image"))[0]
    readback = page.locator(".readback")
    expect(readback.locator("q")).to_have_text(understood)
    expect(readback).to_have_text(re.compile(f"^Understood as .?{re.escape(understood)}.?$"))
    expect(readback).to_have_attribute("title", "Read by CLIP-GPT alone")
    page.get_by_label("CLIP", exact=True).check(force=True)
    expect(readback).to_be_empty()


def test_visible_results_are_captioned_in_one_request_and_captions_are_searched(
    page, front_url, clipgpt, shapes_embeddings
):
    open_page(page, front_url)
    search(page, "a red circle")
    expected = clipgpt.caption(shapes_embeddings[shown_ids(page)[:1]])[0]
    page.wait_for_load_state("networkidle")  # rows grow once their images have loaded
    with sent_to(page, "/caption-service") as bodies:
        page.get_by_role("button", name="Caption these").click()
        page.locator(".ours:visible").first.wait_for()
    [body] = bodies
    on_screen = page.evaluate(
        """() => [...document.querySelectorAll(".results .tile")]
            .filter((tile) => tile.getBoundingClientRect().top < innerHeight).length"""
    )
    assert body["ids"] == shown_ids(page)[:on_screen]
    expect(page.locator(".ours:visible")).to_have_count(on_screen)
    caption = tiles(page).first.locator(".ours")
    expect(caption).to_have_text(expected)
    # The metadata's caption stays apart from ours.
    expect(tiles(page).first.locator(".caption")).to_have_text(re.compile("^a \\w+ \\w+$"))
    with results_of(page):
        caption.click()
    expect(page.locator("#query-text")).to_have_value(expected)
    page.get_by_role("button", name="Caption these").click()
    expect(page.locator(".ours:visible")).to_have_count(0)


def test_results_are_exported(page, front_url):
    open_page(page, f"{front_url}/?encoder=clip")
    search(page, "a red circle")

    def exported(name):
        page.get_by_role("button", name="Export the results").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        return Path(download.value.path()).read_bytes().decode()

    rows = json.loads(exported("JSON"))
    assert [row["id"] for row in rows][: len(shown_ids(page))] == shown_ids(page)
    assert "image" not in rows[0] and rows[0]["caption"]
    written = list(csv.DictReader(io.StringIO(exported("CSV"))))
    assert [row["caption"] for row in written[:5]] == [row["caption"] for row in rows[:5]]


def test_the_neighbours_of_an_image(page, front_url, shapes_embeddings):
    open_page(page, f"{front_url}/?hideDuplicateImages=false")
    search(page, "a red circle")
    near = shown_ids(page)[2]
    detail = open_result(page, 2)
    nearest = np.argsort(-(shapes_embeddings @ shapes_embeddings[near]))[:13].tolist()
    expect(detail.locator(".tile")).to_have_count(12)
    shown = detail.locator(".tile").evaluate_all("(all) => all.map(({dataset}) => Number(dataset.id))")
    assert shown == [item for item in nearest if item != near]
    expect(page.locator("#query-text")).to_have_value("a red circle")  # the query is still there
    with results_of(page):
        detail.get_by_role("button", name="Search with it").click()
    assert shown_ids(page)[:5] == nearest[:5]


def test_both_encoders_side_by_side(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    choose(page, "Compare")
    columns = page.locator(".column")
    expect(columns).to_have_count(2)
    ids = [
        page.evaluate("(body) => fetch('/knn-service', {method: 'POST', body}).then((r) => r.json())", body)
        for body in (
            '{"text": "a red circle", "num_result_ids": 400, "use_clipgpt": false, "deduplicate": true}',
            '{"text": "a red circle", "num_result_ids": 400, "clipgpt_weight": 1, "deduplicate": true}',
        )
    ]
    ids = [{hit["id"] for hit in hits[:20]} for hits in ids]
    common = ids[0] & ids[1]
    expect(page.locator(".summary:visible")).to_have_text(f"{len(common)} of {len(ids[0])} hits in common")
    for column in (0, 1):
        expect(columns.nth(column).locator(".tile")).to_have_count(len(ids[column]))
        expect(columns.nth(column).locator(".common")).to_have_count(len(common))
    with results_of(page):
        choose(page, "Search")


def test_a_new_search_aborts_the_old_one(page, front_url):
    open_page(page, front_url)

    def is_old(request):
        return request.url.endswith("/knn-service") and request.post_data_json["text"] == "old"

    # The old one gets no response.
    page.route("**/knn-service", lambda route: is_old(route.request) or route.continue_())
    page.locator("#query-text").fill("old")
    page.locator("#query-text").press("Enter")
    expect(page.get_by_text("Searching", exact=True)).to_be_visible()  # it takes longer than 200 ms
    with page.expect_event("requestfailed", is_old):
        search(page, "a blue square")
    expect(page.get_by_text("Searching", exact=True)).to_have_count(0)
    assert "query=a+blue+square" in page.url
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_quick_response_shows_no_spinner(page, front_url):
    open_page(page, f"{front_url}/?index=plain")
    expect(page.get_by_role("heading", name="plain")).to_be_visible()
    page.evaluate(
        """() => {
            window.spinners = 0;
            const progress = document.querySelector(".progress");
            new MutationObserver(() => { window.spinners += progress.children.length; })
                .observe(progress, {childList: true});
        }"""
    )
    # The page's time stands still until the response is there, however busy the machine is.
    page.clock.install(time=datetime(2024, 1, 1))
    page.clock.pause_at(datetime(2024, 1, 1, 1))
    page.route("**/*-service", lambda route: route.fulfill(json=[]))
    page.locator("#query-text").fill("a blue square")
    with page.expect_response("**/knn-service"):
        page.locator("#query-text").press("Enter")
    expect(page.get_by_text("Nothing was found.")).to_be_visible()
    page.clock.run_for(1000)
    assert page.evaluate("window.spinners") == 0


def test_more_results_are_loaded_while_the_user_scrolls(page, front_url):
    open_page(page, f"{front_url}/?hideDuplicateImages=false")
    search(page, "a red circle")
    shown = tiles(page).count()
    assert shown < 216
    while shown < 216:
        page.mouse.wheel(0, 100_000)
        expect(tiles(page).nth(shown)).to_be_attached()
        shown = tiles(page).count()
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_hovering_moves_nothing_and_shows_the_similarity(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    tile = tiles(page).first
    before = tile.bounding_box()
    expect(tile.locator(".similarity")).to_have_css("opacity", "0")
    tile.hover()
    expect(tile.locator(".similarity")).to_have_css("opacity", "1")
    assert tile.bounding_box() == before
    with settings_of(page) as drawer:
        drawer.get_by_label("Similarities").check()
    page.mouse.move(0, 0)
    expect(tiles(page).nth(1).locator(".similarity")).to_have_css("opacity", "1")
