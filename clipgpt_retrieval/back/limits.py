"""How much one request may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

_EXTENSION = "clipgpt_limits"


@dataclass(frozen=True)
class Limits:
    """The bounds of a request.

    Attributes:
        max_result_ids: results of a query.
        max_items: items that one request has captioned or looks up.
        max_segments: segments of an interleaved query.
        max_text_length: characters of a text.
        max_body_bytes: bytes of a request body; there is room for a few images in base64.
        max_image_bytes: bytes of an image as it is sent or fetched.
        max_image_pixels: pixels of an image once it is unpacked.
    """

    max_result_ids: int = 1_000_000
    max_items: int = 1000
    max_segments: int = 100
    max_text_length: int = 20_000
    max_body_bytes: int = 64 * 2**20
    max_image_bytes: int = 20 * 2**20
    max_image_pixels: int = 64_000_000

    def apply(self, app: Flask) -> None:
        """Makes these the limits of an app's requests."""
        app.config["MAX_CONTENT_LENGTH"] = self.max_body_bytes
        app.extensions[_EXTENSION] = self


def current_limits() -> Limits:
    """The limits of the app that answers the current request."""
    from flask import current_app  # the flags are read where there is no Flask yet

    return current_app.extensions[_EXTENSION]
