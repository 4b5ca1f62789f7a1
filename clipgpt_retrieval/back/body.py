"""Bodies of requests as JSON, without more memory than a few times their size."""

from typing import Any

from flask import request
from pydantic_core import from_json
from werkzeug.exceptions import RequestEntityTooLarge

from clipgpt_retrieval.back.limits import current_limits
from clipgpt_retrieval.errors import InputError, TooLargeError

# What one such byte of JSON may cost in memory: a value and its slot in a list, a key and its slot, an empty dict.
_BYTES_OF = {b",": 64, b":": 120, b"[": 200, b"{": 200}

MAX_GROWTH = 3
"""Memory of the values of a body, in bytes for each byte of the body; above `AppLimits.max_json_bytes`."""


def read_json() -> Any:
    """The body of the current Flask request, decoded.

    Raises:
        InputError: not JSON in UTF-8.
        TooLargeError: more bytes, or more values, than any valid request has.
    """
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise TooLargeError("body", "exceeds the maximum size of a request body") from error
    if estimated_bytes(body) > MAX_GROWTH * len(body) + current_limits().max_json_bytes:
        raise TooLargeError("body", "has more values than any valid request: send fewer items")
    try:
        # It reads bytes: Python's own decodes all to one string first, of four bytes a character for a single emoji.
        return from_json(body)
    except ValueError as error:
        raise InputError("body", f"is not valid JSON: {error}") from error


def estimated_bytes(body: bytes) -> int:
    """The most memory that the values of a body can take, its strings apart.

    Characters in strings count as well, which is safe: text has few of these, and base64 none.
    """
    return sum(body.count(character) * cost for character, cost in _BYTES_OF.items())
