"""Limits of one request."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

BYTES_PER_PIXEL = 8
"""Memory of an image in most formats: its pixels, and a copy in RGB, both with four bytes."""

_EXTENSION = "clipgpt_limits"


@dataclass(frozen=True)
class Limits:
    """The limits of a request.

    Attributes:
        max_result_ids: results of a query.
        max_images: images in a response; further results come without theirs.
        max_items: items that a request captions or looks up.
        max_queries: queries that a request searches for at once.
        max_segments: segments of an interleaved query.
        max_query_images: segments that are images, sent or fetched.
        max_text_length: characters of a text.
        max_body_bytes: bytes of a request body; enough for a few images in base64.
        max_image_bytes: bytes of an image as sent or fetched.
        max_image_pixels: pixels of an image. Formats that take more memory a pixel may have fewer.
    """

    max_result_ids: int = 1_000_000
    max_images: int = 100
    max_items: int = 1000
    max_queries: int = 100
    max_segments: int = 100
    max_query_images: int = 10
    max_text_length: int = 20_000
    max_body_bytes: int = 64 * 2**20
    max_image_bytes: int = 20 * 2**20
    max_image_pixels: int = 64_000_000

    @property
    def decoding_bytes(self) -> int:
        """Memory of all images that are decoded at once."""
        return BYTES_PER_PIXEL * self.max_image_pixels

    def apply(self, app: Flask, dimension: int) -> None:
        """Sets these limits for the requests of an app whose embeddings have at most ``dimension`` components."""
        app.config["MAX_CONTENT_LENGTH"] = self.max_body_bytes
        app.extensions[_EXTENSION] = AppLimits(**asdict(self), dimension=dimension)


@dataclass(frozen=True, kw_only=True)
class AppLimits(Limits):
    """The limits of an app.

    Attributes:
        dimension: of the embeddings of its indexes, the largest.
    """

    dimension: int

    @property
    def max_json_bytes(self) -> int:
        """Memory of the values of the largest request, as `body.estimated_bytes` counts it: a few MB, or embeddings."""
        return 2**23 + 64 * self.max_items * (self.dimension + 4)


def current_limits() -> AppLimits:
    """The limits of the current app."""
    from flask import current_app  # slow to import, and not needed for `--help`

    return current_app.extensions[_EXTENSION]
