"""Our page and back end beside clip-retrieval's own, in a real Chromium."""

import re

import pytest
from browsing import choose, open_page, open_result, results_of, search, sent_to, settings_of, tiles
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def expect_only_stock(page):
    """Nothing is offered that only CLIP-GPT can do."""
    for name in ("Compare", "Explore", "Caption these"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()
    expect(page.get_by_role("radio")).to_have_count(0)
    expect(page.locator(".readback")).to_be_empty()


def test_an_index_without_a_model_shows_what_stock_shows(page, front_url):
    open_page(page, f"{front_url}/?index=plain")
    search(page, "a red circle")
    expect_only_stock(page)
    page.get_by_label("Index", exact=True).select_option("shapes")
    expect(page.get_by_role("button", name="Explore")).to_be_visible()


def test_the_page_hides_what_a_stock_back_end_does_not_support(page, front_url, stock_back_url):
    open_page(page, f"{front_url}/?back={stock_back_url}")
    with sent_to(page, "-service") as bodies:
        search(page, "a red circle")
        expect(tiles(page).first).to_be_visible()
        with results_of(page):
            open_result(page, 1).get_by_role("button", name="Search with it").click()
    expect_only_stock(page)
    assert not any("use_clipgpt" in body or "segments" in body for body in bodies)
    assert bodies[-1]["image"]
    expect(page.get_by_alt_text("your image")).to_be_visible()
    search(page, "a blue square")
    expect(page.locator(".chip")).to_have_count(0)
    with settings_of(page) as drawer:  # what a stock back end has is not known
        expect(drawer.get_by_label("Safe mode")).to_be_visible()


def test_settings_that_the_back_end_does_not_have_are_not_offered(page, front_url):
    open_page(page, front_url)
    expect(page.get_by_role("button", name="Explore")).to_be_visible()
    with settings_of(page) as drawer:
        for name in ("Safe mode", "Remove violence", "Aesthetic score", "Multilingual CLIP reads texts", "Search over"):
            expect(drawer.get_by_label(name)).to_be_hidden()
        expect(drawer.get_by_label("Hide (near) duplicate images")).to_be_visible()


def test_a_page_of_another_origin_reads_the_features_of_our_back_end(page, other_front_url, front_url):
    open_page(page, f"{other_front_url}/?back={front_url}")
    search(page, "a red circle")
    page.get_by_role("button", name="Caption these").click()
    expect(tiles(page).first.locator(".ours")).to_be_visible()
    choose(page, "Explore")
    expect(page.locator(".point").first).to_be_visible()


def test_the_stock_page_works_with_our_back_end(page, front_url, stock_back_url):
    page.goto(f"{stock_back_url}/?back={front_url}")
    page.locator("#searchBar").fill("a red circle")
    with page.expect_response(f"{front_url}/knn-service"):
        page.locator("#searchBar").press("Enter")
    expect(page.locator("#products figure").first).to_be_visible()
    expect(page.locator("#clipgpt")).to_have_count(0)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("method redoSearch", ("redoSearch", "searchAgain")),
        ("property currentIndex", ("currentIndex:{type:String},", "")),
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
        expect(page.locator("#products figure").first).to_be_visible()
        expect(page.locator("#clipgpt")).to_have_count(0)
    expect(page.locator("body")).to_have_css("color", "rgb(0, 0, 0)")
    expect(page.locator("body")).to_have_css("background-color", "rgba(0, 0, 0, 0)")
    page.console_errors.clear()
