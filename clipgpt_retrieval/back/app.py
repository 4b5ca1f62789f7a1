"""The app factory: clip-retrieval's endpoints and ours as one Flask app."""

import threading

from clip_retrieval.clip_front import add_static_endpoints
from flask import Flask, request
from werkzeug.wrappers import Response

from clipgpt_retrieval.back.auth import allow_origins, require_api_key
from clipgpt_retrieval.back.captions import CaptionService
from clipgpt_retrieval.back.encode import EncodeService
from clipgpt_retrieval.back.error_handlers import JsonErrorsApi, register_error_handlers
from clipgpt_retrieval.back.explore import ContentsCache, ExploreService
from clipgpt_retrieval.back.features import FEATURES_HEADER, AnnouncedIndicesList
from clipgpt_retrieval.back.health import Health, Ready
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.knn import ClipGptKnnService
from clipgpt_retrieval.back.metadata import CheckedMetadataService
from clipgpt_retrieval.back.metrics import ClipGptMetricsSummary, metrics_app
from clipgpt_retrieval.back.openapi import add_description
from clipgpt_retrieval.back.options import BackOptions
from clipgpt_retrieval.back.request_log import HEADER, log_requests
from clipgpt_retrieval.back.request_time import limit_time
from clipgpt_retrieval.back.resources import load_resources
from clipgpt_retrieval.front_patch import add_front_patch
from clipgpt_retrieval.options import takes_options

STOPPING = "clipgpt_stopping"
"""The extension that holds the event which a server sets when it is about to stop."""


@takes_options(BackOptions)
def create_app(options: BackOptions) -> Flask:
    """The back end as a WSGI app, for a server of your own.

    Takes the flags of `clip-retrieval back` with their defaults, and its own from clipgpt_model on.

    Examples:
        >>> import json, pathlib
        >>> import clipgpt_retrieval as cg
        >>> index_folders = {"demo": str(cg.demo.path() / "index")}
        >>> _ = pathlib.Path("indices_paths.json").write_text(json.dumps(index_folders))
        >>> offline = {"enable_mclip_option": False, "provide_aesthetic_embeddings": False}
        >>> app = create_app(clipgpt_model="demo", load_clip=False, **offline)
        >>> app.test_client().get("/indices-list").json
        ['demo']
    """
    resources = load_resources(options)
    images = ImageReader(allow_private_urls=options.allow_private_image_urls, limits=options.limits)

    app = Flask(__name__, static_folder=None)
    app.extensions[STOPPING] = threading.Event()
    options.limits.apply(app)
    log_requests(app)
    register_error_handlers(app)
    limit_time(app, options.request_seconds)
    if options.required_api_key is not None:
        require_api_key(app, options.required_api_key)
    app.add_url_rule("/metrics", view_func=_metrics)
    add_description(app, needs_key=options.required_api_key is not None)
    add_static_endpoints(app, options.default_backend, None, options.url_column)
    add_front_patch(app)

    api = JsonErrorsApi(app)
    api.add_resource(Health, "/health")
    api.add_resource(
        Ready, "/ready", resource_class_kwargs={"indices": list(resources), "stopping": app.extensions[STOPPING]}
    )
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
        resource_class_kwargs={"clip_resources": resources, "images": images, "contents_cache": ContentsCache()},
    )
    allow_origins(app, options.origins, [FEATURES_HEADER, HEADER])
    return app


def _metrics() -> Response:
    """Prometheus's own page, as a view, so that it is logged and guarded as all others are."""
    return Response.from_app(metrics_app(), request.environ)
