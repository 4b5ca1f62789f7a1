"""Notes on how a request was processed, in a header: the stock response has no field for them."""

from flask import Response, after_this_request

NOTE_HEADER = "ClipGPT-Note"
"""Clients show it as a warning."""


def note(text: str) -> None:
    """Adds a note to the response of the current request; other characters than ASCII as Python escapes."""

    def add(response: Response) -> Response:
        before = response.headers.get(NOTE_HEADER)
        escaped = text.encode("ascii", "backslashreplace").decode()
        response.headers[NOTE_HEADER] = escaped if before is None else f"{before}; {escaped}"
        return response

    after_this_request(add)
