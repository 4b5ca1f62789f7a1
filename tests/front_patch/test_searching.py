"""Searches on the page, in a real Chromium against a real back end."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from browsing import card, open_page, result_figures, results_of, search, sent_to, shown_ids
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_the_encoder_of_a_text_is_clipgpt_clip_or_a_blend(page, front_url):
    open_page(page, front_url)
    found = {}
    with sent_to(page, "/knn-service") as bodies:
        search(page, "a red circle")
        found["CLIP-GPT"] = shown_ids(page)
        for name in ("CLIP", "blend"):
            with results_of(page):
                page.get_by_label(name, exact=True).check()
            expect(page.get_by_label(name, exact=True)).to_be_checked()
            found[name] = shown_ids(page)
        with results_of(page):
            page.get_by_label("Weight of CLIP-GPT").fill("0.8")
    asked = [(body["use_clipgpt"], body.get("clipgpt_weight")) for body in bodies]
    assert asked == [(True, 1), (False, None), (True, 0.5), (True, 0.8)]
    assert found["CLIP-GPT"] != found["CLIP"]
    expect(page.get_by_text("80 % CLIP-GPT")).to_be_visible()


def test_the_readback_of_a_query_is_shown(page, front_url, clipgpt):
    """With a model without thresholds: no match is reported."""
    open_page(page, front_url)
    search(page, "a red circle")
    understood = clipgpt.caption(clipgpt.encode(["a red circle"], space="image"))[0]
    readback = page.locator(".readback")
    expect(readback.locator("q")).to_have_text(understood)
    expect(readback).to_have_text(re.compile(f"^Understood as .?{re.escape(understood)}.?$"))
    expect(readback).to_have_attribute("title", "Read by CLIP-GPT alone")
    page.get_by_label("CLIP", exact=True).check()
    expect(readback).to_be_empty()


def test_a_result_is_captioned_and_its_caption_is_searched(page, front_url, clipgpt, shapes_embeddings):
    open_page(page, front_url)
    search(page, "a red circle")
    expected = clipgpt.caption(shapes_embeddings[shown_ids(page)[:1]])[0]
    card(page, 0).get_by_label("Caption this image").click()
    caption = card(page, 0).locator(".caption")
    expect(caption).to_have_text(expected)
    with results_of(page):
        caption.click()
    expect(page.locator("#searchBar")).to_have_value(expected)


def test_all_visible_results_are_captioned_in_one_request(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    with sent_to(page, "/caption-service") as bodies:
        page.get_by_text("Caption all visible").click()
        page.locator(".caption:visible").first.wait_for()
    [body] = bodies
    on_screen = page.evaluate(
        """() => [...document.querySelector("clip-front").shadowRoot.querySelectorAll("#products figure")]
            .filter((figure) => figure.getBoundingClientRect().top < innerHeight).length"""
    )
    assert body["ids"] == shown_ids(page)[:on_screen]
    expect(page.locator(".caption:visible")).to_have_count(on_screen)
    expect(page.get_by_role("status").filter(has_text="Captioning")).to_have_count(0)


def test_results_are_downloaded_as_they_were_searched(page, front_url):
    open_page(page, f"{front_url}/?encoder=clip")
    search(page, "a red circle")
    with sent_to(page, "/knn-service") as bodies, page.expect_download() as download:
        page.get_by_role("button", name="Download the results as JSON").click()
    assert bodies[0]["use_clipgpt"] is False
    assert [hit["id"] for hit in json.loads(Path(download.value.path()).read_text())] == shown_ids(page)


def test_the_neighbours_of_an_image(page, front_url, shapes_embeddings):
    open_page(page, f"{front_url}/?hideDuplicateImages=false")
    search(page, "a red circle")
    near = shown_ids(page)[2]
    with results_of(page):
        card(page, 2).get_by_label("Images like this one").click()
    assert shown_ids(page)[0] == near
    assert shown_ids(page)[:5] == np.argsort(-(shapes_embeddings @ shapes_embeddings[near]))[:5].tolist()


def test_both_encoders_side_by_side(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    page.get_by_text("Compare").click()
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
    expect(page.locator(".summary")).to_have_text(f"{len(common)} of {len(ids[0])} hits in common")
    for column in (0, 1):
        expect(columns.nth(column).locator("figure")).to_have_count(len(ids[column]))
        expect(columns.nth(column).locator(".common")).to_have_count(len(common))
    page.get_by_text("Compare").click()
    expect(result_figures(page).first).to_be_visible()


def test_a_new_search_aborts_the_old_one(page, front_url):
    open_page(page, front_url)

    def is_old(request):
        return request.url.endswith("/knn-service") and request.post_data_json["text"] == "old"

    # The old one gets no response.
    page.route("**/knn-service", lambda route: is_old(route.request) or route.continue_())
    page.locator("#searchBar").fill("old")
    page.locator("#searchBar").press("Enter")
    expect(page.get_by_text("Searching")).to_be_visible()  # it takes longer than 200 ms
    with page.expect_event("requestfailed", is_old):
        search(page, "a blue square")
    expect(page.get_by_text("Searching")).to_have_count(0)
    assert "query=a+blue+square" in page.url
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_quick_response_shows_no_spinner(page, front_url):
    open_page(page, front_url)
    page.evaluate(
        """() => {
            window.spinners = 0;
            const progress = document.querySelector("clip-front").shadowRoot.querySelector(".progress");
            new MutationObserver(() => { window.spinners += progress.children.length; })
                .observe(progress, {childList: true});
        }"""
    )
    page.route("**/*-service", lambda route: route.fulfill(json=[]))
    page.locator("#searchBar").fill("a blue square")
    with page.expect_response("**/knn-service"):
        page.locator("#searchBar").press("Enter")
    assert page.evaluate("window.spinners") == 0
