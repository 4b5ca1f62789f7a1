"""Filters on the page, in a real Chromium against a real back end."""

import pytest
from browsing import open_page, results_of, search, sent_to, tiles
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def add_filter(page, field, condition, value):
    page.get_by_role("button", name="Only where…").click()
    page.get_by_label("Field", exact=True).select_option(field)
    page.get_by_label("Condition").select_option(condition)
    page.get_by_label("Value").fill(value)
    page.get_by_label("Value").press("Enter")


def test_results_are_restricted_by_their_metadata(page, browser, front_url):
    open_page(page, f"{front_url}/?hideDuplicateImages=false")
    search(page, "a red circle")
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        add_filter(page, "caption", "contains", "blue")
    assert bodies[0]["filter"] == [{"field": "caption", "op": "contains", "value": "blue"}]
    expect(tiles(page)).to_have_count(36)
    assert all("blue" in text for text in tiles(page).locator(".caption").all_inner_texts())
    with results_of(page):
        add_filter(page, "caption", "=", "a blue circle")
    expect(tiles(page)).to_have_count(12)

    other = browser.new_page()
    with results_of(other):
        open_page(other, page.url)
    expect(tiles(other)).to_have_count(12)
    with results_of(other):
        other.get_by_role("button", name="Remove caption is a blue circle").click()
    expect(tiles(other)).to_have_count(36)
    other.close()


def test_a_filter_that_nothing_satisfies_says_so(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    add_filter(page, "caption", "contains", "zebra")
    expect(page.get_by_text("Nothing was found.")).to_be_visible()
    expect(tiles(page)).to_have_count(0)


def test_a_stock_back_end_is_sent_no_filter(page, front_url, stock_back_url):
    link = "%5B%22caption%22%2C%22contains%22%2C%22blue%22%5D"
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        open_page(page, f"{front_url}/?back={stock_back_url}&query=a+red+circle&filter={link}")
    expect(page.get_by_role("button", name="Only where…")).to_be_hidden()
    assert "filter" not in bodies[0]
