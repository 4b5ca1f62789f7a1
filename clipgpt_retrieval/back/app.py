"""The app factory: clip-retrieval's endpoints and ours as one Flask app."""

import threading
from typing import Any

from clip_retrieval.clip_front import add_static_endpoints
from flask import Flask, request
from werkzeug.wrappers import Response

from clipgpt_retrieval.back.auth import allow_origins, require_api_key
from clipgpt_retrieval.back.captions import CaptionService
from clipgpt_retrieval.back.encode import EncodeService
from clipgpt_retrieval.back.error_handlers import JsonErrorsApi, register_error_handlers
from clipgpt_retrieval.back.explore import ContentsCache, ExploreService
from clipgpt_retrieval.back.export import ExportService
from clipgpt_retrieval.back.features import FEATURES_HEADER, AnnouncedIndicesList
from clipgpt_retrieval.back.fields import FieldsService, SummaryCache
from clipgpt_retrieval.back.health import Health, Ready
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.indices import RELOAD, Indices
from clipgpt_retrieval.back.knn import ClipGptKnnService
from clipgpt_retrieval.back.metadata import CheckedMetadataService
from clipgpt_retrieval.back.metrics import ClipGptMetricsSummary, metrics_app
from clipgpt_retrieval.back.notes import NOTE_HEADER
from clipgpt_retrieval.back.openapi import add_description
from clipgpt_retrieval.back.options import BackOptions
from clipgpt_retrieval.back.request_log import HEADER, log_requests
from clipgpt_retrieval.back.request_time import limit_time
from clipgpt_retrieval.back.score import ScoreService
from clipgpt_retrieval.back.security_headers import add_security_headers
from clipgpt_retrieval.front_patch import add_front_patch
from clipgpt_retrieval.options import takes_options

STOPPING = "clipgpt_stopping"
"""Key of the app's extension that holds an event, set by the server when it shuts down."""


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
    indices = Indices(options)
    app = Flask(__name__, static_folder=None)
    app.extensions[STOPPING] = threading.Event()
    app.extensions[RELOAD] = indices.reload
    options.limits.apply(app, indices.dimension)
    log_requests(app)
    add_security_headers(app)
    register_error_handlers(app)
    limit_time(app, options.request_seconds)
    if options.required_api_key is not None:
        require_api_key(app, options.required_api_key)
    app.add_url_rule("/metrics", view_func=_metrics)
    add_description(app, needs_key=options.required_api_key is not None)
    add_static_endpoints(app, options.default_backend, None, options.url_column)
    _serve_config_as_json(app)
    add_front_patch(app)
    _add_services(JsonErrorsApi(app), indices, options)
    allow_origins(app, options.origins, [FEATURES_HEADER, NOTE_HEADER, HEADER])
    return app


def _add_services(api: JsonErrorsApi, indices: Indices, options: BackOptions) -> None:
    images = ImageReader(allow_private_urls=options.allow_private_image_urls, limits=options.limits)
    served: dict[str, Any] = {"clip_resources": indices}
    ready = {**served, "stopping": api.app.extensions[STOPPING]}
    for path, service, arguments in (
        ("/health", Health, {}),
        ("/ready", Ready, ready),
        ("/metrics-summary", ClipGptMetricsSummary, {}),
        ("/indices-list", AnnouncedIndicesList, served),
        ("/metadata", CheckedMetadataService, served),
        ("/knn-service", ClipGptKnnService, {**served, "images": images}),
        ("/caption-service", CaptionService, {**served, "images": images}),
        ("/encode-service", EncodeService, {**served, "images": images}),
        ("/fields-service", FieldsService, {**served, "summaries": SummaryCache()}),
        ("/export-service", ExportService, {**served, "images": images}),
        ("/score-service", ScoreService, {**served, "images": images}),
        ("/explore-service", ExploreService, {**served, "contents_cache": ContentsCache()}),
    ):
        api.add_resource(service, path, resource_class_kwargs=arguments)


def _serve_config_as_json(app: Flask) -> None:
    """clip-retrieval serves the configuration of its page, with the Host of the request in it, as HTML."""
    endpoint, _ = app.url_map.bind("localhost").match("/config.json")
    config = app.view_functions[endpoint]

    def as_json() -> Response:
        return Response(app.ensure_sync(config)(), mimetype="application/json")

    app.view_functions[endpoint] = as_json


def _metrics() -> Response:
    """The metrics page as a view, so that logging and the API key apply to it."""
    return Response.from_app(metrics_app(), request.environ)
