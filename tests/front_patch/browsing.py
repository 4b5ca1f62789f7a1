"""What a person does on the page, and what is to be seen there."""

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
    """Waits until the page shows the results of what is done inside."""
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
    """The bodies of the requests to a service that are sent inside, in order."""
    bodies = []

    def note(request):
        if request.url.endswith(service) and request.method == "POST":
            bodies.append(request.post_data_json)

    page.on("request", note)
    yield bodies
    page.remove_listener("request", note)


def searches(bodies):
    """The searches for the page's results, without those for the images closest to the image embedding."""
    return [body for body in bodies if body["num_images"] > 1]


def figures(page):
    return page.locator("#products figure")


def card(page, place):
    return figures(page).nth(place).locator(".card")


def shown_ids(page):
    return page.evaluate("document.querySelector('clip-front').images.map(({id}) => id)")


def an_image():
    """A person's own, large enough that the page makes it smaller before it is sent."""
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((800, 600)).save(data, "PNG")
    return data.getvalue()
