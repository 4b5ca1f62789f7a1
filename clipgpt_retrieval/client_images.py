"""Images as fields of a request."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipgpt_retrieval.errors import InputError

SHORTEST_BASE64 = 64
"""Length from which a text may be an image: no image format is shorter, and many names of files are also base64."""


def image_fields(image: str | Path | None) -> dict[str, Any]:
    """The request fields of an image that is given as a file, a URL or base64."""
    if not image:
        return {}
    text = str(image)
    if text.startswith(("http://", "https://")):
        return {"image_url": text}
    if text.startswith("data:"):
        kind, _, content = text.partition(",")
        if not kind.endswith(";base64") or not _is_base64(content):
            raise InputError("image", "is not a data: URL in base64: give data:image/png;base64,...")
        return {"image": content}
    with suppress(OSError):  # a text too long for a file name
        if (file := Path(image).expanduser()).is_file():
            return {"image": base64.b64encode(file.read_bytes()).decode("ascii")}
    if len(text) >= SHORTEST_BASE64 and _is_base64(text):
        return {"image": text}
    raise InputError("image", f"{text[:200]} is not a file, a URL or base64")


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode("".join(text.split()), validate=True))
    except ValueError:
        return False
