"""Notes on how a request was processed, in a header: the stock response has no field for them."""

from flask import Response, after_this_request

NOTE_HEADER = "ClipGPT-Note"
"""Clients show it as a warning."""


def note(text: str) -> None:
    """Adds a note to the response of the current request."""

    def add(response: Response) -> Response:
        response.headers[NOTE_HEADER] = text
        return response

    after_this_request(add)
