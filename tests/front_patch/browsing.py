"""Actions on the page, and what it shows."""

import io
from contextlib import contextmanager

import numpy as np
from PIL import Image


def open_page(page, url):
    page.goto(url)
    page.locator("#query-text").wait_for()
    return page


def search(page, text):
    with results_of(page):
        page.locator("#query-text").fill(text)
        page.locator("#query-text").press("Enter")


@contextmanager
def results_of(page):
    """Waits until the page shows other results than before."""
    page.evaluate("document.querySelectorAll('.results .tile').forEach((tile) => tile.setAttribute('data-old', ''))")
    yield
    page.wait_for_function(
        """() => {
            const tiles = [...document.querySelectorAll(".results:not([hidden], .stale) .tile")];
            return tiles.length > 0 && tiles.every((tile) => !("old" in tile.dataset));
        }"""
    )


@contextmanager
def sent_to(page, service):
    """The bodies of the requests that are sent to a service in the meantime, in order."""
    bodies = []

    def note(request):
        if request.url.endswith(service) and request.method == "POST":
            bodies.append(request.post_data_json)

    page.on("request", note)
    yield bodies
    page.remove_listener("request", note)


def next_frame(page):
    """Waits until the page has drawn once more."""
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")


def tiles(page):
    """The results that are shown."""
    return page.locator(".results .tile")


def shown_ids(page):
    return page.evaluate("[...document.querySelectorAll('.results .tile')].map(({dataset}) => Number(dataset.id))")


def open_result(page, position):
    """Opens a result in the detail view, which is returned."""
    tiles(page).nth(position).locator(".open").click()
    detail = page.get_by_role("dialog", name="Image")
    detail.get_by_role("button", name="Search with it").wait_for()
    return detail


def add_to_query(page, position):
    """Adds a result to the query, from its detail view."""
    with results_of(page):
        open_result(page, position).get_by_role("button", name="Add to the query").click()


def choose(page, view):
    page.get_by_role("navigation", name="Views").get_by_role("button", name=view).click()


@contextmanager
def settings_of(page):
    """The settings, open in the meantime."""
    page.get_by_role("button", name="Settings").click()
    drawer = page.get_by_role("dialog", name="Settings")
    yield drawer
    drawer.get_by_role("button", name="Close").click()


def an_image():
    """A PNG file for an upload, large enough that the page scales it down."""
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((800, 600)).save(data, "PNG")
    return data.getvalue()
