"""The app factory: clip-retrieval's endpoints and ours as one Flask app."""

from typing import Any

from clip_retrieval.clip_front import add_static_endpoints
from flask import Flask
from flask_cors import CORS
from flask_restful import Api
from prometheus_client import make_wsgi_app
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from clipgpt_retrieval.back.captions import CaptionService
from clipgpt_retrieval.back.encode import EncodeService
from clipgpt_retrieval.back.explore import ContentsShelf, ExploreService
from clipgpt_retrieval.back.features import FEATURES_HEADER, AnnouncedIndicesList
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.knn import ClipGptKnnService
from clipgpt_retrieval.back.metadata import CheckedMetadataService
from clipgpt_retrieval.back.metrics import ClipGptMetricsSummary
from clipgpt_retrieval.back.options import BackOptions, takes_back_options
from clipgpt_retrieval.back.request_time import limit_time
from clipgpt_retrieval.back.resources import load_resources
from clipgpt_retrieval.front_patch import add_front_patch

MAX_BODY_BYTES = 64 * 2**20
"""Room for a few images in base64."""


@takes_back_options
def create_app(**flags: Any) -> Flask:
    """The back end as a WSGI app, for a server of your own.

    Takes the flags of `clip-retrieval back`, and:
    """
    options = BackOptions(**flags)
    resources = load_resources(options)
    images = ImageReader(allow_private_urls=options.allow_private_image_urls)

    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    limit_time(app, options.request_seconds)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": make_wsgi_app()})  # type: ignore[method-assign]
    add_static_endpoints(app, options.default_backend, None, options.url_column)
    add_front_patch(app)

    api = Api(app)
    api.add_resource(ClipGptMetricsSummary, "/metrics-summary")
    api.add_resource(AnnouncedIndicesList, "/indices-list", resource_class_kwargs={"clip_resources": resources})
    api.add_resource(CheckedMetadataService, "/metadata", resource_class_kwargs={"clip_resources": resources})
    for service, path in (
        (ClipGptKnnService, "/knn-service"),
        (CaptionService, "/caption-service"),
        (EncodeService, "/encode-service"),
    ):
        api.add_resource(service, path, resource_class_kwargs={"clip_resources": resources, "images": images})
    api.add_resource(
        ExploreService,
        "/explore-service",
        resource_class_kwargs={"clip_resources": resources, "images": images, "shelf": ContentsShelf()},
    )
    CORS(app, expose_headers=[FEATURES_HEADER])
    return app
