"""The base class of the services."""

from flask_restful import Resource

from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.resources import ClipGptResource


class Service(Resource):
    """A service that answers for several indices and opens the images of requests.

    Args:
        clip_resources: the indices by their names.
        images: opens the images of requests.
    """

    def __init__(self, *, clip_resources: dict[str, ClipGptResource], images: ImageReader) -> None:
        super().__init__()
        self.clip_resources = clip_resources
        self.images = images
