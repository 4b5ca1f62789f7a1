"""Prometheus histograms of CLIP-GPT, beside clip-retrieval's own."""

import os
from collections.abc import Callable
from typing import Any

# clip_back empties the registry when it is imported, so it has to come first.
from clip_retrieval.clip_back import MetricsSummary, metric_to_average
from flask import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

BATCH_ROWS = Histogram(
    "clipgpt_batch_rows", "Texts or embeddings in a batch", ["work"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 512)
)
QUEUE_TIME = Histogram("clipgpt_queue_time", "Time spent waiting for the batch before", ["work"])
WAITING_ROWS = Gauge("clipgpt_waiting_rows", "Texts and embeddings that wait for a batch")
CANCELLED_REQUESTS = Counter("clipgpt_cancelled_requests", "Requests refused or given up, by reason", ["reason"])
CACHE_LOOKUPS = Counter("clipgpt_cache_lookups", "Lookups in the caches, by outcome", ["cache", "outcome"])
CACHE_BYTES = Gauge("clipgpt_cache_bytes", "Bytes in the caches", ["cache"])
CLIPGPT_ENCODE_TIME = Histogram("clipgpt_encode_time", "Time spent encoding a query with CLIP-GPT")
CLIPGPT_CAPTION_TIME = Histogram("clipgpt_caption_time", "Time spent captioning embeddings with CLIP-GPT")
# It was among what clip_back has thrown out.
ProcessCollector()

HTTP_TIME = Histogram("clipgpt_http_time", "Time until a request is answered", ["path", "status"])


def metrics_app() -> Callable[..., Any]:
    """Prometheus's page as a WSGI app, of all workers together where a server of several says where they meet."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return make_wsgi_app()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return make_wsgi_app(registry)


class ClipGptMetricsSummary(MetricsSummary):
    """clip-retrieval's summary of where time goes, with a line for each step that is CLIP-GPT's."""

    def get(self) -> Response:
        """Answers ``GET /metrics-summary``."""
        response = super().get()
        lines = ["", ""]
        for metric in (CLIPGPT_ENCODE_TIME, CLIPGPT_CAPTION_TIME):
            name, description, count, average = metric_to_average(metric)
            lines.append(f"{name}: {description}: {int(count)} calls, {average:0.4f}s on average")
        response.set_data(response.get_data(as_text=True) + "\n".join(lines))
        return response
