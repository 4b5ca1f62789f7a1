"""The map of an index on the page, in a real Chromium against a real back end."""

import pytest
import requests
from browsing import choose, open_page, search, tiles
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_from_the_map_to_a_cluster_to_its_images_and_their_neighbours(page, front_url):
    open_page(page, front_url)
    choose(page, "Explore")
    expect(page.locator(".point")).to_have_count(6)
    expect(page.locator(".contents li")).to_have_count(6)
    expect(page.locator(".point.labelled").first).to_be_visible()
    page.locator(".map").get_by_label("blue things, 36 images").click()
    expect(page.locator(".point")).to_have_count(3)
    expect(page.locator(".images .tile")).to_have_count(12)
    page.get_by_label("Open: square things").click()
    expect(page.locator(".point")).to_have_count(0)
    page.locator(".images .tile .open").nth(1).click()
    page.get_by_role("dialog").get_by_role("button", name="Show more in Explore").click()
    expect(page.get_by_role("heading", name="Images like this one", level=2)).to_be_visible()
    expect(page.locator(".images .caption").first).to_have_text("a blue square")
    trail = page.get_by_label("Breadcrumb").locator("li")
    expect(trail).to_have_count(4)
    trail.nth(1).get_by_role("button").click()
    expect(page.locator(".point")).to_have_count(3)
    expect(trail).to_have_count(2)


def test_the_opened_cluster_is_focused(page, front_url):
    open_page(page, f"{front_url}/?view=explore")
    page.get_by_label("Open: blue things").press("Enter")
    current = page.get_by_label("Breadcrumb").locator("[aria-current]")
    expect(current).to_have_text("blue things")
    expect(current).to_be_focused()


def test_the_response_of_the_explore_service_is_shown(page, exploring_url):
    open_page(page, f"{exploring_url}/?view=explore")
    page.locator(".point").first.wait_for()
    response = requests.get(f"{exploring_url}/explore-service", params={"indice_name": "shapes"}, timeout=60).json()
    expect(page.locator(".point")).to_have_count(len(response["clusters"]))
    expect(page.locator(".contents li")).to_have_count(len(response["clusters"]))
    page.locator(".contents .title").first.click()
    expect(page.get_by_label("Breadcrumb").locator("li")).to_have_count(2)
    expect(page.locator(".images .tile").first).to_be_visible()


def test_a_search_lights_up_on_the_map(page, exploring_url):
    open_page(page, exploring_url)
    search(page, "a red circle")
    choose(page, "Explore")
    expect(page.locator(".point.lit").first).to_be_visible()
    counts = [int(text) for text in page.locator(".point .count").all_inner_texts()]
    assert 0 < sum(counts) <= 100
    page.locator(".point.lit").first.hover()
    expect(page.locator(".tip .found")).to_have_text(f"{counts[0]} of the results")
    page.locator("#query-text").fill("")
    choose(page, "Explore")
    expect(page.locator(".point.lit, .point.dim")).to_have_count(0)


def test_images_are_in_the_clusters_when_the_map_is_zoomed(page, front_url):
    open_page(page, f"{front_url}/?view=explore")
    point = page.locator(".point").first
    point.wait_for()
    before = page.locator(".disc img:visible").count()
    size = point.bounding_box()["width"]
    for _ in range(3):
        page.get_by_role("button", name="Zoom in").click()
    assert point.bounding_box()["width"] > 1.5 * size
    assert page.locator(".disc img:visible").count() > before
    frame = page.locator(".map-frame")
    assert frame.evaluate("(frame) => frame.scrollWidth > 2 * frame.clientWidth")
    while page.get_by_role("button", name="Zoom out").is_enabled():
        page.get_by_role("button", name="Zoom out").click()
    assert point.bounding_box()["width"] == pytest.approx(size, abs=1)


def test_a_cluster_shows_what_it_is_on_hover_and_on_focus(page, front_url):
    open_page(page, f"{front_url}/?view=explore")
    page.locator(".map").get_by_label("blue things").hover()
    expect(page.locator(".tip")).to_contain_text("blue things")
    expect(page.locator(".tip")).to_contain_text("36 images, 17 %")
    page.locator(".map").get_by_label("green things").focus()
    expect(page.locator(".tip")).to_contain_text("green things")


def test_the_start_says_what_the_index_is_and_leads_into_it(page, front_url):
    open_page(page, front_url)
    expect(page).to_have_title("shapes")
    expect(page.get_by_role("heading", name="shapes")).to_be_visible()
    expect(page.get_by_text("216 images · CLIP")).to_be_visible()
    expect(page.locator(".queries button")).to_have_count(6)
    expect(page.get_by_placeholder("Describe or drop an image")).to_be_visible()
    expect(page.locator(".clusters img").first).to_be_visible()
    query = page.locator(".queries button").first.inner_text()
    page.locator(".queries button").first.click()
    expect(tiles(page).first).to_be_visible()
    expect(page).to_have_title(f"{query} · shapes")
    page.get_by_role("button", name="CLIP-GPT", exact=True).click()
    page.locator(".clusters").get_by_text("blue things").click()
    expect(page.get_by_label("Breadcrumb").locator("[aria-current]")).to_have_text("blue things")
