"""The base class of the services."""

from flask_restful import Resource

from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.indices import Indices


class Service(Resource):
    """A service that answers for several indices and opens the images of requests.

    Args:
        clip_resources: the indices of the app.
        images: opens the images of requests.
    """

    def __init__(self, *, clip_resources: Indices, images: ImageReader) -> None:
        super().__init__()
        self.clip_resources = clip_resources.current
        self.images = images
