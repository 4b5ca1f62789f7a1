"""The map of an index on the page, in a real Chromium against a real back end."""

import pytest
import requests
from browsing import open_page
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_from_the_map_to_a_cluster_to_its_images_and_their_neighbours(page, front_url):
    open_page(page, front_url)
    page.get_by_text("Explore").click()
    expect(page.locator(".point")).to_have_count(6)
    expect(page.locator(".contents li")).to_have_count(6)
    expect(page.locator(".point.labelled").first).to_be_visible()
    page.get_by_label("blue things, 36 images").click()
    expect(page.locator(".point")).to_have_count(3)
    expect(page.locator(".images figure")).to_have_count(12)
    page.get_by_label("Open: square things").click()
    expect(page.locator(".point")).to_have_count(0)
    page.locator(".images figure").nth(1).get_by_label("Images like this one").click()
    expect(page.get_by_role("heading", name="Images like this one")).to_be_visible()
    expect(page.locator(".images figcaption").first).to_have_text("a blue square")
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
    expect(page.locator(".images figure").first).to_be_visible()
