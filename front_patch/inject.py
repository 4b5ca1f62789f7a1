"""Adds the front patch to the page that clip-retrieval's static endpoints serve."""

import logging
from pathlib import Path

from flask import Blueprint, Flask, Response, request

LOGGER = logging.getLogger(__name__)

URL_PREFIX = "/clipgpt-front"

STATIC = Path(__file__).parent / "static"


def add_front_patch(app: Flask) -> None:
    """Serves the files of the front patch, and links them in the stock page.

    Args:
        app: one to which clip-retrieval's ``add_static_endpoints`` was applied. A stock page without ``<head>`` is
            served unchanged, with a warning in the log.
    """
    app.register_blueprint(Blueprint("clipgpt_front", __name__, static_folder=STATIC, static_url_path=URL_PREFIX))
    endpoint, _ = app.url_map.bind("localhost").match("/")
    with app.test_request_context("/"):
        stock = app.ensure_sync(app.view_functions[endpoint])()
        stock.direct_passthrough = False
        page = stock.get_data(as_text=True)
    if "<head>" not in page:
        LOGGER.warning("the page of clip-retrieval's front end has no <head>: it is served without CLIP-GPT's controls")
        return
    # Before the stock script: both are deferred, and ours has to run before that one defines its element.
    patched = page.replace("<head>", f"<head>{_tags()}", 1)

    def patched_page() -> Response:
        response = Response(patched, mimetype="text/html")
        response.cache_control.no_cache = True
        response.add_etag()
        response.make_conditional(request)
        return response

    app.view_functions[endpoint] = patched_page


def _tags() -> str:
    # Relative, as in the stock page, so that it also works behind a path prefix.
    folder = URL_PREFIX[1:]
    # Preloaded, or the browser would only discover the modules one import after another.
    modules = [f'<link rel="modulepreload" href="{folder}/{file.name}">' for file in sorted(STATIC.glob("*.js"))]
    return "".join(
        [
            '<link rel="icon" href="assets/search.png">',
            f'<link rel="stylesheet" href="{folder}/page.css">',
            *modules,
            f'<script type="module" src="{folder}/main.js"></script>',
        ]
    )
