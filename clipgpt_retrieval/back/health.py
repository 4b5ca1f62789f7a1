"""Liveness and readiness probes for orchestrators."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from flask_restful import Resource

from clipgpt_retrieval.errors import BusyError

if TYPE_CHECKING:
    from clipgpt_retrieval.back.indices import Indices

OPEN_PATHS = ("/health", "/ready")
"""Paths that need no key and wait for no other request, for orchestrators and load balancers."""


class Health(Resource):
    """``GET /health``: the process responds."""

    def get(self) -> dict[str, str]:
        """Returns ``{"status": "ok"}``."""
        return {"status": "ok"}


class Ready(Resource):
    """``GET /ready``: the indices are loaded and the server accepts requests."""

    def __init__(self, *, clip_resources: Indices, stopping: threading.Event) -> None:
        super().__init__()
        self._resources = clip_resources.current
        self._stopping = stopping

    def get(self) -> dict[str, Any]:
        """Returns ``{"status": "ready", "indices", "encoders", "precisions"}``, or 503 while the server shuts down."""
        if self._stopping.is_set():
            raise BusyError("server is shutting down")
        encoders = {name: resource.encoder for name, resource in self._resources.items()}
        precisions = {name: resource.engine.precision for name, resource in self._resources.items() if resource.engine}
        return {"status": "ready", "indices": list(encoders), "encoders": encoders, "precisions": precisions}
