"""Thumbnails as data URLs, for a page without further files."""

import base64
import io
from pathlib import Path

SIDE = 224
"""Length of the longer side in pixels."""


def thumbnail(name: str, folder: str) -> str | None:
    """An image as a ``data:`` URL, or None if it cannot be read.

    Args:
        name: the image's ``image_path``: an absolute path, or one relative to the embeddings folder or to the
            working directory. Web URLs are not fetched.
        folder: the embeddings folder.
    """
    from PIL import Image, UnidentifiedImageError

    from clipgpt_retrieval.data.pixels import upright_8_bit

    file = next((path for path in (Path(folder, name), Path(name)) if path.is_file()), None)
    if file is None:
        return None
    data = io.BytesIO()
    try:
        with Image.open(file) as image:
            image.draft(None, (SIDE, SIDE))
            shown = upright_8_bit(image)
            shown.thumbnail((SIDE, SIDE))
            shown.convert("RGB").save(data, "JPEG", quality=80)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
