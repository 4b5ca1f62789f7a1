"""Liveness and readiness probes for orchestrators."""

import threading
from collections.abc import Sequence
from typing import Any

from flask_restful import Resource

from clipgpt_retrieval.errors import BusyError

OPEN_PATHS = ("/health", "/ready")
"""Paths that need no key and wait for no other request, for orchestrators and load balancers."""


class Health(Resource):
    """``GET /health``: the process responds."""

    def get(self) -> dict[str, str]:
        """Returns ``{"status": "ok"}``."""
        return {"status": "ok"}


class Ready(Resource):
    """``GET /ready``: the indices are loaded and the server accepts requests."""

    def __init__(self, *, indices: Sequence[str], stopping: threading.Event) -> None:
        super().__init__()
        self._indices = list(indices)
        self._stopping = stopping

    def get(self) -> dict[str, Any]:
        """Returns ``{"status": "ready", "indices"}``, or 503 while the server shuts down."""
        if self._stopping.is_set():
            raise BusyError("server is shutting down")
        return {"status": "ready", "indices": self._indices}
