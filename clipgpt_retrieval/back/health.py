"""Whether the server lives, and whether it takes requests: what an orchestrator asks."""

import threading
from collections.abc import Sequence
from typing import Any

from flask_restful import Resource

from clipgpt_retrieval.errors import BusyError


class Health(Resource):
    """``GET /health``: the process lives and answers."""

    def get(self) -> dict[str, str]:
        """Answers ``{"status": "ok"}``."""
        return {"status": "ok"}


class Ready(Resource):
    """``GET /ready``: the indices are loaded, and requests are welcome."""

    def __init__(self, *, indices: Sequence[str], stopping: threading.Event) -> None:
        super().__init__()
        self._indices = list(indices)
        self._stopping = stopping

    def get(self) -> dict[str, Any]:
        """Answers ``{"status": "ready", "indices"}``, or 503 once the server has been told to stop."""
        if self._stopping.is_set():
            raise BusyError("is about to stop")
        return {"status": "ready", "indices": self._indices}
