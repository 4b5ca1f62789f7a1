"""Our page and back end beside clip-retrieval's own, in a real Chromium."""

import re

import pytest
from browsing import card, open_page, result_figures, search, sent_to
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_an_index_without_a_model_shows_what_stock_shows(page, front_url):
    open_page(page, f"{front_url}/?index=plain")
    search(page, "a red circle")
    expect(page.locator(".tools")).to_be_hidden()
    expect(page.locator(".card:visible")).to_have_count(0)
    page.get_by_label("Index", exact=True).select_option("shapes")
    expect(page.locator(".tools")).to_be_visible()


def test_the_page_hides_what_a_stock_back_end_does_not_support(page, front_url, stock_back_url):
    open_page(page, f"{front_url}/?back={stock_back_url}")
    with sent_to(page, "-service") as bodies:
        search(page, "a red circle")
        expect(result_figures(page).first).to_be_visible()
    expect(page.locator(".tools")).to_be_hidden()
    expect(page.locator(".card:visible")).to_have_count(0)
    assert not any("use_clipgpt" in body or "segments" in body for body in bodies)


def test_a_page_of_another_origin_reads_the_features_of_our_back_end(page, other_front_url, front_url):
    open_page(page, f"{other_front_url}/?back={front_url}")
    search(page, "a red circle")
    card(page, 0).get_by_label("Caption this image").click()
    expect(card(page, 0).locator(".caption")).to_be_visible()
    page.get_by_role("button", name="Explore").click()
    expect(page.locator(".point").first).to_be_visible()


def test_the_stock_page_works_with_our_back_end(page, front_url, stock_back_url):
    page.goto(f"{stock_back_url}/?back={front_url}")
    page.locator("#searchBar").fill("a red circle")
    with page.expect_response(f"{front_url}/knn-service"):
        page.locator("#searchBar").press("Enter")
    expect(result_figures(page).first).to_be_visible()
    expect(page.locator("#clipgpt")).to_have_count(0)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("method callClip", ("callClip", "askClip")),
        ("property currentIndex", ("currentIndex:{type:String},", "")),
        ("element #searchLine", ('id="searchLine"', 'id="topLine"')),
        ("element <clip-front>", ("<clip-front>", "<clip-page>")),
    ],
)
def test_an_incompatible_stock_page_is_left_as_it_is(page, front_url, part, changed):
    def change(route):
        response = route.fetch()
        route.fulfill(response=response, body=response.text().replace(*changed))

    page.route(re.compile(r"/(main\.\w+\.js)?$"), change)
    page.emulate_media(color_scheme="dark")  # the stock page is always light
    with page.expect_console_message(lambda message: "CLIP-GPT is not added" in message.text):
        page.goto(front_url)
    logged = [error for error in page.console_errors if "CLIP-GPT is not added to this version of the page" in error]
    assert len(logged) == 1
    assert f"which lacks {part}" in logged[0]
    page.console_errors.clear()
    if "clip-front" not in part:
        page.locator("#searchBar").fill("a red circle")
        page.locator("#searchBar").press("Enter")
        expect(result_figures(page).first).to_be_visible()
        expect(page.locator("#clipgpt")).to_have_count(0)
    expect(page.locator("body")).to_have_css("color", "rgb(0, 0, 0)")
    expect(page.locator("body")).to_have_css("background-color", "rgba(0, 0, 0, 0)")
    page.console_errors.clear()
