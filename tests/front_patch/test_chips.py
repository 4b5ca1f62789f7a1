"""Interleaved queries on the page, in a real Chromium against a real back end."""

import re

import pytest
from browsing import an_image, card, open_page, result_figures, results_of, search, sent_to, shown_ids
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_an_image_and_a_text_make_one_query(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    first, second = shown_ids(page)[:2]
    with sent_to(page, "/knn-service") as bodies:
        page.locator("#searchBar").fill("but at night")
        with results_of(page):
            card(page, 0).get_by_label("Add this image to the query").click()
        with results_of(page):
            card(page, 0).get_by_label("Add this image to the query").click()
    added = bodies[1]["segments"][1]["id"]
    assert bodies[0]["segments"] == [{"id": first}, {"text": "but at night"}]
    assert bodies[1]["segments"] == [{"id": first}, {"id": added}, {"text": "but at night"}]
    assert second is not None
    expect(page.locator(".chips li")).to_have_count(3)
    expect(page.locator(".chips li img").first).to_be_visible()
    expect(page.get_by_label("CLIP", exact=True)).to_be_disabled()


def test_chips_are_moved_and_removed_by_mouse(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=item:5&chip=bar")
    chips = page.locator(".chips li")
    expect(chips).to_have_count(3)
    with sent_to(page, "/knn-service") as bodies:
        with results_of(page):
            chips.nth(2).drag_to(chips.nth(0))
        with results_of(page):
            page.get_by_label("Move image 5 to the left").click()
        with results_of(page):
            page.get_by_label("Remove image 3").click()
    assert [body["segments"] for body in bodies] == [
        [{"text": "at night"}, {"id": 3}, {"id": 5}],
        [{"text": "at night"}, {"id": 5}, {"id": 3}],
        [{"text": "at night"}, {"id": 5}],
    ]


def test_chips_are_moved_and_removed_by_keyboard(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=item:5&chip=bar")
    page.locator(".chips li").nth(0).focus()
    with sent_to(page, "/knn-service") as bodies:
        with results_of(page):
            page.keyboard.press("Alt+ArrowRight")
        expect(page.locator(".chips li").nth(1)).to_be_focused()
        page.keyboard.press("ArrowLeft")
        with results_of(page):
            page.keyboard.press("Delete")
    assert [body["segments"] for body in bodies] == [
        [{"id": 5}, {"id": 3}, {"text": "at night"}],
        [{"id": 3}, {"text": "at night"}],
    ]
    expect(page.get_by_text("image 5 removed")).to_have_count(1)


def test_the_search_bar_is_focused_when_the_last_chip_is_removed(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=bar")
    page.locator(".chips li").nth(0).focus()
    with results_of(page):
        page.keyboard.press("Delete")
    expect(page.locator("#searchBar")).to_be_focused()
    expect(page.get_by_role("status").filter(has_text="image 3 removed")).to_have_count(1)


def test_a_text_becomes_a_chip(page, front_url):
    open_page(page, f"{front_url}/?query=a+dog+like&chip=bar")
    page.get_by_text("+ text").click()
    page.locator("#searchBar").fill("at night")
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.locator("#searchBar").press("Enter")
    assert bodies[0]["text"] == "a dog like at night"


def test_an_uploaded_image_is_part_of_the_query_and_of_the_link(page, browser, front_url):
    open_page(page, front_url)
    page.locator("#searchBar").fill("in summer")
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.locator("#clipgpt input[type=file]").set_input_files(
            {"name": "mine.png", "mimeType": "image/png", "buffer": an_image()}
        )
    [image, text] = bodies[0]["segments"]
    assert text == {"text": "in summer"}
    expect(page.get_by_alt_text("your image")).to_be_visible()

    other = browser.new_page()
    open_page(other, page.url)
    with sent_to(other, "/knn-service") as again, results_of(other):
        other.reload()
    assert again[0]["segments"] == [image, text]
    other.close()


def test_the_stock_image_search_is_part_of_the_link_too(page, browser, front_url):
    open_page(page, front_url)
    with results_of(page):
        page.get_by_label("Image to search with").set_input_files(
            {"name": "mine.png", "mimeType": "image/png", "buffer": an_image()}
        )
    found = shown_ids(page)
    other = browser.new_page()
    with results_of(other):
        open_page(other, page.url)
    assert shown_ids(other) == found
    other.close()


def test_a_file_that_is_not_an_image_is_refused_with_a_message(page, front_url):
    open_page(page, front_url)
    page.locator("#clipgpt input[type=file]").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}
    )
    expect(page.get_by_role("alert")).to_contain_text("notes.txt is not an image that this browser can read.")


def test_a_change_of_index_removes_image_chips(page, front_url):
    open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=bar")
    expect(page.locator(".chips li")).to_have_count(2)
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.get_by_label("Index", exact=True).select_option("plain")
    assert bodies[-1]["text"] == "at night"
    assert "chip=" not in page.url


def test_a_change_of_index_removes_the_neighbours_of_an_image(page, front_url):
    """Images of the old index would get captions of the new one."""
    open_page(page, front_url)
    search(page, "a red circle")
    with results_of(page):
        card(page, 0).get_by_label("Images like this one").click()
    page.get_by_label("Index", exact=True).select_option("plain")
    expect(result_figures(page)).to_have_count(0)
    expect(page).to_have_url(re.compile("index=plain"))
    assert "chip=" not in page.url
