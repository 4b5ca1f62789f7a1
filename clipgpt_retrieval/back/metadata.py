"""The metadata of items, as searches and the metadata service answer it."""

import base64
import io
from typing import Any

from clip_retrieval.clip_back import MetadataService, meta_to_dict
from PIL import Image

from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.schema import MetadataRequest, parse_request


class CheckedMetadataService(MetadataService):
    """``POST /metadata``: clip-retrieval's answer, behind a check of what is params."""

    def post(self) -> list[dict[str, Any]]:
        """Answers ``[{"id", "metadata"}]``."""
        params = parse_request(MetadataRequest)
        resource = pick_resource(self.clip_resources, params.indice_name)
        resource.items.check(params.ids)
        if not params.ids:
            return []
        metadata = resource.metadata_provider.get(params.ids, resource.columns_to_return)
        return [
            {"id": item_id, "metadata": shown_metadata(of_item)}
            for item_id, of_item in zip(params.ids, metadata, strict=True)
        ]


def shown_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata of an item ready for JSON, as clip-retrieval answers it.

    Args:
        metadata: as the metadata provider read it.

    Returns:
        With ``image``, a JPEG in base64, where the file at ``image_path`` is an image that can be read here. Upstream
        fails on images that JPEG cannot hold as they are, such as those with transparency.
    """
    image = _jpeg(metadata["image_path"]) if "image_path" in metadata else None
    return meta_to_dict(metadata if image is None else {**metadata, "image": image})


def _jpeg(path: Any) -> str | None:
    data = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.convert("RGB").save(data, "JPEG")
    except Exception:  # decoders fail on broken files in many ways, and the item is of use without its image
        return None
    return base64.b64encode(data.getvalue()).decode()
