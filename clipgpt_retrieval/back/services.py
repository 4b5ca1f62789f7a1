"""What all services share: they hold the indices."""

from flask_restful import Resource

from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.resources import ClipGptResource


class Service(Resource):
    """A service of ours. The attributes come from `create_app`."""

    def __init__(self, *, clip_resources: dict[str, ClipGptResource], images: ImageReader) -> None:
        super().__init__()
        self.clip_resources = clip_resources
        self.images = images
