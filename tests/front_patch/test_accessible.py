"""The page for a keyboard, a screen reader and a phone, in a real Chromium against a real back end."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import card, open_page, results_of, search
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


QUERIES = {
    "search": "?query=a+red+circle&encoder=blend&captioned=true",
    "query in pieces": "?query=at+night&chip=item:3&chip=bar&chip=text:in+summer",
    "compare": "?query=a+red+circle&view=compare",
    "explore": "?view=explore",
    "cluster": "?view=explore&cluster=blue",
    "neighbours": "?view=explore&cluster=blue.square&near=50",
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(page, front_url, name, scheme):
    page.emulate_media(color_scheme=scheme)
    open_page(page, f"{front_url}/{QUERIES[name]}")
    page.locator("figure, .point").first.wait_for()
    found = Axe().run(page).response["violations"]
    serious = [
        (violation["id"], [node["html"] for node in violation["nodes"]][:3])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("name", QUERIES)
def test_on_a_phone_nothing_is_wider_than_the_screen(page, front_url, name):
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, f"{front_url}/{QUERIES[name]}")
    page.locator("figure, .point").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.get_by_label("Backend URL")).to_be_hidden()
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Backend URL")).to_be_visible()


LONG_WORD = 200 * "w"


@pytest.mark.parametrize("width", [360, 390, 412])
def test_on_a_phone_long_texts_are_not_wider_than_the_screen(page, front_url, width):
    def with_long_captions(route):
        response = route.fetch()
        exploration = response.json()
        for cluster in exploration["clusters"]:
            cluster |= {"caption": LONG_WORD, "distinctive_caption": "a label with room for much"}
        route.fulfill(response=response, json=exploration)

    page.route("**/explore-service?**", with_long_captions)
    refused = {"error": {"field": "text", "message": LONG_WORD}}
    page.route("**/knn-service", lambda route: route.fulfill(status=400, json=refused))
    # An error here might arrive after those of the first page are removed.
    unread = {"embedding": [], "image_embedding": None, "caption": None}
    page.route("**/encode-service", lambda route: route.fulfill(json=unread))
    page.set_viewport_size({"width": width, "height": 844})
    open_page(page, f"{front_url}/?view=explore")
    page.locator(".point").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(f"{front_url}/?query=at+night&chip=text:{LONG_WORD}&chip=bar")
    expect(page.locator(".chips li").first).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text(LONG_WORD)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.console_errors.clear()


def test_everything_can_be_done_by_keyboard(page, front_url):
    """The tab key reaches every control, from the search bar to the buttons of a result."""
    open_page(page, front_url)
    search(page, "a red circle")
    page.locator("#searchBar").focus()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
                const active = document.querySelector("clip-front").shadowRoot.activeElement;
                return active?.getAttribute("aria-label") || active?.alt || active?.textContent;
            }"""
        )
        reached.append(name or page.evaluate("document.activeElement.tagName"))
    for name in ("Search", "Caption all visible", "Explore", "Caption this image", "Images like this one"):
        assert any(name in (one or "") for one in reached), (name, reached)
    with page.expect_response("**/caption-service"):
        card(page, 0).get_by_label("Caption this image").press("Enter")
    with results_of(page):
        page.get_by_role("button", name="Search", exact=True).press(" ")
