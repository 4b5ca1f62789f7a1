"""Prometheus metrics of CLIP-GPT, in the registry of clip-retrieval's own."""

import os
from collections.abc import Callable
from typing import Any

# First: importing clip_back clears the registry.
from clip_retrieval.clip_back import MetricsSummary, metric_to_average
from flask import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

BATCH_ROWS = Histogram(
    "clipgpt_batch_rows", "Texts or embeddings per batch", ["work"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 512)
)
QUEUE_TIME = Histogram("clipgpt_queue_time", "Seconds in the queue before a batch starts", ["work"])
WAITING_ROWS = Gauge("clipgpt_waiting_rows", "Texts and embeddings in the queue")
CANCELLED_REQUESTS = Counter("clipgpt_cancelled_requests", "Requests cancelled or refused, by reason", ["reason"])
CACHE_LOOKUPS = Counter("clipgpt_cache_lookups", "Cache lookups, by outcome", ["cache", "outcome"])
CACHE_BYTES = Gauge("clipgpt_cache_bytes", "Size of the caches in bytes", ["cache"])
CLIPGPT_ENCODE_TIME = Histogram("clipgpt_encode_time", "Time spent encoding a query with CLIP-GPT")
CLIPGPT_CAPTION_TIME = Histogram("clipgpt_caption_time", "Time spent captioning embeddings with CLIP-GPT")
# clip_back has cleared it with the rest of the registry.
ProcessCollector()

HTTP_TIME = Histogram("clipgpt_http_time", "Seconds until the response, by path and status", ["path", "status"])


def metrics_app() -> Callable[..., Any]:
    """The metrics page as a WSGI app; of all worker processes if PROMETHEUS_MULTIPROC_DIR is set."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return make_wsgi_app()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return make_wsgi_app(registry)


class ClipGptMetricsSummary(MetricsSummary):
    """clip-retrieval's summary of the mean time of each step, with CLIP-GPT's steps."""

    def get(self) -> Response:
        """``GET /metrics-summary``."""
        response = super().get()
        lines = ["", ""]
        for metric in (CLIPGPT_ENCODE_TIME, CLIPGPT_CAPTION_TIME):
            name, description, count, average = metric_to_average(metric)
            lines.append(f"{name}: {description}: {int(count)} calls, {average:0.4f}s on average")
        response.set_data(response.get_data(as_text=True) + "\n".join(lines))
        return response
