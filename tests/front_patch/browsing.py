"""Actions on the page, and what it shows."""

import io
from contextlib import contextmanager

import numpy as np
from PIL import Image


def open_page(page, url):
    page.goto(url)
    page.locator("#clipgpt").wait_for()
    return page


def search(page, text):
    with results_of(page):
        page.locator("#searchBar").fill(text)
        page.locator("#searchBar").press("Enter")


@contextmanager
def results_of(page):
    """Waits until the page shows other results than before."""
    page.evaluate("window.before = document.querySelector('clip-front')?.images")
    yield
    page.wait_for_function(
        """() => {
            const element = document.querySelector("clip-front");
            return element?.images?.length > 0 && element.images !== window.before && !element.isUpdatePending;
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


def result_figures(page):
    return page.locator("#products figure")


def card(page, position):
    return result_figures(page).nth(position).locator(".card")


def shown_ids(page):
    return page.evaluate("document.querySelector('clip-front').images.map(({id}) => id)")


def an_image():
    """A PNG file for an upload, large enough that the page scales it down."""
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((800, 600)).save(data, "PNG")
    return data.getvalue()
