"""The time limit of each request, and whether its client is still connected."""

import time

from flask import Flask, request

from clipgpt_retrieval.back.batching import CURRENT_DEADLINE, UNLIMITED, Deadline

CLIENT_DISCONNECTED = "waitress.client_disconnected"
"""Set by waitress in the environment of a request; with other servers only the deadline applies."""


def limit_time(app: Flask, seconds: float) -> None:
    """Cancels the work of requests that take longer than ``seconds`` or whose client has disconnected."""

    @app.before_request
    def set_deadline() -> None:
        is_disconnected = request.environ.get(CLIENT_DISCONNECTED, lambda: False)
        CURRENT_DEADLINE.set(Deadline(time.monotonic() + seconds, is_disconnected))

    @app.teardown_request
    def reset_deadline(error: BaseException | None) -> None:
        CURRENT_DEADLINE.set(UNLIMITED)
