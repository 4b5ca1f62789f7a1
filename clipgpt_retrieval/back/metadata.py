"""The metadata service, and the metadata of search results."""

from collections.abc import Sequence
from typing import Any

from clip_retrieval.clip_back import MetadataService

from clipgpt_retrieval.back.batching import check_deadline
from clipgpt_retrieval.back.indices import Indices
from clipgpt_retrieval.back.json_values import json_value
from clipgpt_retrieval.back.limits import current_limits
from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.schema import MetadataRequest, parse_request
from clipgpt_retrieval.back.shown_images import ShownImages


class CheckedMetadataService(MetadataService):
    """``POST /metadata``: clip-retrieval's response, for validated requests."""

    def __init__(self, *, clip_resources: Indices) -> None:
        super().__init__(clip_resources=clip_resources.current)

    def post(self) -> list[dict[str, Any]]:
        """Returns ``[{"id", "metadata"}]``."""
        params = parse_request(MetadataRequest)
        resource = pick_resource(self.clip_resources, params.indice_name)
        resource.items.check(params.ids)
        if not params.ids:
            return []
        metadata = resource.metadata_of(params.ids)
        shown = shown_metadata(metadata, resource.shown_images, current_limits().max_images)
        return [{"id": item_id, "metadata": of_item} for item_id, of_item in zip(params.ids, shown, strict=True)]


def shown_metadata(metadata: Sequence[dict[str, Any]], images: ShownImages, max_images: int) -> list[dict[str, Any]]:
    """The metadata of items as JSON values, the first ``max_images`` of them with their images.

    Args:
        metadata: of the collection.
        images: reads the images of the index.
        max_images: images to read.

    Raises:
        BusyError: the current request is cancelled.
    """
    shown = []
    for rank, of_item in enumerate(metadata):
        check_deadline()
        shown.append(_with_image(of_item, images) if rank < max_images else json_value(of_item))
    return shown


def _with_image(metadata: dict[str, Any], images: ShownImages) -> dict[str, Any]:
    """The metadata of an item as JSON values, as clip-retrieval returns them.

    Args:
        metadata: from the metadata provider.
        images: reads the images of the index.

    Returns:
        With ``image``, a JPEG in base64, if ``image_path`` is a readable image. Upstream fails on images in modes that
        JPEG does not support, such as those with transparency.
    """
    image = images.jpeg(metadata["image_path"]) if "image_path" in metadata else None
    return json_value(metadata if image is None else {**metadata, "image": image})
