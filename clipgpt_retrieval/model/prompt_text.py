"""The text around a caption, and how a caption is cleaned. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any

CAPTION_OPENING = "Caption: ["
CAPTION_CLOSING = "]."

Segment = Mapping[str, Any]
"""``{"text": str}`` or ``{"embedding": float vector [clip_dim]}``."""


def clean_caption(text: str) -> str:
    """One line without the square brackets that close a caption.

    >>> clean_caption(" a dog [brown]  runs ")
    'a dog (brown) runs'
    """
    return " ".join(text.split()).replace("[", "(").replace("]", ")")
