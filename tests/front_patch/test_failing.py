"""Errors on the page, in a real Chromium against a real back end."""

import re

import pytest
from browsing import next_frame, open_page, results_of, search, sent_to, settings_of, tiles
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_a_link_is_kept_while_the_back_end_is_unreachable(page, front_url):
    """A tab may be restored before the back end has started."""
    page.route("**/indices-list", lambda route: route.abort())
    open_page(page, f"{front_url}/?index=shapes&query=at+night&encoder=blend&chip=item:3&chip=bar")
    expect(page.get_by_role("alert")).to_contain_text("Cannot reach the back end")
    page.unroute("**/indices-list")
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.get_by_role("button", name="Try again").click()
    assert bodies[0]["segments"] == [{"id": 3}, {"text": "at night"}]
    assert "index=shapes&query=at+night" in page.url
    assert "encoder=blend&chip=item%3A3&chip=bar" in page.url
    expect(page.locator(".chips li")).to_have_count(2)
    expect(page.get_by_label("Index", exact=True)).to_have_value("shapes")
    assert all("ERR_FAILED" in error or "Failed to fetch" in error for error in page.console_errors)
    page.console_errors.clear()


def test_the_page_starts_once_its_back_end_responds(page, front_url):
    """Opened at its bare address, before the back end has started."""
    page.route("**/indices-list", lambda route: route.abort())
    open_page(page, front_url)
    page.unroute("**/indices-list")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Explore")).to_be_visible()
    search(page, "a red circle")
    page.console_errors.clear()


def test_errors_are_shown_and_requests_can_be_retried(page, front_url):
    open_page(page, f"{front_url}/?encoder=clip")  # with CLIP-GPT, the readback would be requested too
    responses = [
        {"status": 503, "headers": {"Retry-After": "3"}, "json": {"error": {"field": "", "message": "full"}}},
        {"status": 500, "body": "oops"},
        {"status": 400, "json": {"error": {"field": "text", "message": "has length 31999, the limit is 20000"}}},
    ]

    def refuse(route):
        if responses:
            route.fulfill(**responses.pop(0))
        else:
            route.continue_()

    page.route("**/knn-service", refuse)
    page.locator("#query-text").fill("a red circle")
    page.locator("#query-text").press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The back end is busy: try again in 3 s.")
    page.get_by_text("Try again").click()
    expect(alert).to_contain_text("The back end failed (500")
    page.get_by_text("Try again").click()
    expect(alert).to_have_text("The back end reports: text has length 31999, the limit is 20000.")
    expect(page.get_by_text("Try again")).to_have_count(0)  # the same request would fail again
    with results_of(page):
        page.locator("#query-text").press("Enter")
    expect(alert).to_be_empty()
    assert len(page.console_errors) == 3  # the browser logs the three responses
    page.console_errors.clear()


BUSY = {"status": 503, "json": {"error": {"field": "", "message": "full"}}}


def test_scrolling_does_not_repeat_a_failed_request(page, front_url):
    open_page(page, f"{front_url}/?hideDuplicateImages=false")
    page.wait_for_load_state("networkidle")  # the start has shown its own images
    page.route("**/metadata", lambda route: route.fulfill(**BUSY))
    with sent_to(page, "/metadata") as bodies:
        search(page, "a red circle")
        page.evaluate("window.scrollTo(0, 1e6)")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        for _ in range(10):
            page.evaluate("window.dispatchEvent(new Event('scroll'))")
            next_frame(page)
    assert len(bodies) == 1
    seen = tiles(page).count()
    page.unroute("**/metadata")
    page.get_by_role("button", name="Try again").click()
    expect(tiles(page).nth(seen)).to_be_attached()
    page.console_errors.clear()


def test_an_unknown_id_does_not_affect_the_other_images_of_a_query(page, front_url):
    """A link from before the index was rebuilt."""
    open_page(page, f"{front_url}/?query=at+night&chip=item:99999999&chip=item:3&chip=bar")
    expect(page.get_by_alt_text("image 3")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("99999999")
    with results_of(page):
        page.get_by_label("Remove image 99999999").click()
    expect(page.get_by_role("alert")).to_be_empty()
    page.console_errors.clear()


def test_a_new_search_removes_the_errors_of_the_old_one(page, front_url):
    """A retry would caption the same ids in another index."""
    page.route("**/caption-service", lambda route: route.fulfill(**BUSY))
    open_page(page, front_url)
    search(page, "a red circle")
    page.get_by_role("button", name="Caption these").click()
    expect(page.get_by_role("button", name="Try again")).to_have_count(1)
    page.get_by_role("button", name="Caption these").click()
    search(page, "a blue square")
    expect(page.get_by_role("alert")).to_be_empty()
    page.console_errors.clear()


def test_one_reason_is_shown_once_and_old_results_are_gone(page, front_url):
    """A search sends several requests: each would say the same."""
    open_page(page, front_url)
    search(page, "a red circle")
    page.route(re.compile("/(knn|encode)-service$"), lambda route: route.abort())
    page.locator("#query-text").fill("a blue square")
    page.locator("#query-text").press("Enter")
    alert = page.get_by_role("alert")
    expect(alert.locator("p")).to_have_count(1)
    expect(alert).to_contain_text(f"Cannot reach the back end at {front_url}.")
    expect(tiles(page)).to_have_count(0)
    page.unroute(re.compile("/(knn|encode)-service$"))
    with results_of(page):
        alert.get_by_role("button", name="Try again").click()
    expect(alert).to_be_empty()
    page.console_errors.clear()


def test_an_invalid_backend_url_is_shown_as_it_was_typed(page, front_url):
    open_page(page, front_url)
    with settings_of(page) as drawer:
        drawer.get_by_label("Backend URL").fill("http://a:b")
        drawer.get_by_label("Backend URL").press("Tab")
    expect(page.get_by_role("alert")).to_contain_text("Cannot reach the back end at http://a:b.")
    page.console_errors.clear()
