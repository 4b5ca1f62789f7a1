"""The page for a keyboard, a screen reader and screens of all sizes, in a real Chromium against a real back end."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import open_page, results_of, search, settings_of, shown_ids, tiles
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

QUERIES = {
    "start": "",
    "search": "?query=a+red+circle&encoder=blend&captioned=true",
    "query in parts": "?query=at+night&chip=item:3&chip=bar&chip=text:in+summer",
    "compare": "?query=a+red+circle&view=compare",
    "explore": "?view=explore",
    "cluster": "?view=explore&cluster=blue",
    "neighbours": "?view=explore&cluster=blue.square&near=50",
    "detail": "?query=a+red+circle&item=3",
    "filtered": "?query=a+red+circle&filter=%5B%22caption%22,%22contains%22,%22blue%22%5D",
    "starred": "?view=starred&starred=3.17",
}
SHOWN = ".tile:visible, .point:visible, .clusters img:visible"


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(page, front_url, name, scheme):
    page.emulate_media(color_scheme=scheme)
    open_page(page, f"{front_url}/{QUERIES[name]}")
    page.locator(SHOWN).first.wait_for()
    assert serious_violations(page) == []


@pytest.mark.parametrize("button", ["Settings", "Help", "Add to the query"])
def test_axe_finds_no_serious_violation_in_what_opens(page, front_url, button):
    open_page(page, front_url)
    page.locator(SHOWN).first.wait_for()
    page.get_by_role("button", name=button).click()
    assert serious_violations(page) == []


def serious_violations(page):
    found = Axe().run(page).response["violations"]
    return [
        (violation["id"], [node["html"] for node in violation["nodes"]][:3])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("width", [390, 640, 768, 1280, 2560])  # 640: 1280 at a zoom of 200 %
def test_nothing_is_wider_than_the_screen(page, front_url, name, width):
    page.set_viewport_size({"width": width, "height": 844})
    open_page(page, f"{front_url}/{QUERIES[name]}")
    page.locator(SHOWN).first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if "&item=" not in QUERIES[name]:
        with settings_of(page) as drawer:  # nothing of it is in the way before
            expect(drawer.get_by_label("Backend URL")).to_be_visible()


def test_the_first_image_is_near_the_top_of_a_phone(page, front_url):
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, front_url)
    search(page, "a red circle")
    assert tiles(page).first.bounding_box()["y"] < 844 / 3
    for name in ("Search", "Compare", "Explore", "Starred"):  # in reach of the thumb
        box = page.get_by_role("navigation").get_by_role("button", name=name).bounding_box()
        assert box["y"] > 700 and min(box["width"], box["height"]) >= 44


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


def test_a_search_by_keyboard_alone(page, front_url):
    """From the search bar to the results, among them, into the detail of one and back to it."""
    open_page(page, front_url)
    page.locator(".clusters img").first.wait_for()
    page.keyboard.press("/")
    expect(page.locator("#query-text")).to_be_focused()
    with results_of(page):
        page.keyboard.type("a red circle")
        page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    opens = tiles(page).locator(".open")
    expect(opens.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(opens.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert below > opens.nth(1).bounding_box()["y"] + 50
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") < below - 50
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(opens.nth(1)).to_be_focused()
    page.keyboard.press("s")
    expect(tiles(page).nth(1).locator(".star")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Enter")
    detail = page.get_by_role("dialog", name="Image")
    expect(detail.locator("dd").first).to_have_text(str(shown_ids(page)[1]))
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    expect(opens.nth(1)).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()


def test_the_results_are_few_tab_stops_from_the_top(page, front_url):
    """The settings are not before them, and all results are one stop; a link skips the rest."""
    with results_of(page):
        open_page(page, f"{front_url}/?query=a+red+circle")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    focused = "document.activeElement.closest('.view.results') !== null"
    assert page.evaluate(focused)
    page.locator("#query-text").focus()
    names = []
    while not page.evaluate("document.activeElement.matches('.tile .open')"):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent"))
        assert len(names) < 14, names
    assert {"Search", "Settings", "Help (?)", "Compare", "Explore", "Export the results"} <= set(names)


def test_nothing_moves_for_those_who_ask_for_it(page, front_url):
    page.emulate_media(reduced_motion="reduce")
    open_page(page, front_url)
    page.route("**/knn-service", lambda route: None)
    page.locator("#query-text").fill("slow")
    page.locator("#query-text").press("Enter")
    job = page.locator(".job")
    job.first.wait_for()
    assert job.first.evaluate("(job) => getComputedStyle(job, '::before').animationDuration") == "3s"
