"""How long a request may take, and whether anybody still waits for it."""

import time

from flask import Flask, request

from clipgpt_retrieval.back.batching import CURRENT_DEADLINE, UNLIMITED, Deadline

CLIENT_DISCONNECTED = "waitress.client_disconnected"
"""What waitress puts into a request's environment; other servers tell nothing, and the deadline alone counts."""


def limit_time(app: Flask, seconds: float) -> None:
    """Gives up work for requests that take longer than ``seconds`` or whose client has gone."""

    @app.before_request
    def set_patience() -> None:
        has_left = request.environ.get(CLIENT_DISCONNECTED, lambda: False)
        CURRENT_DEADLINE.set(Deadline(time.monotonic() + seconds, has_left))

    @app.teardown_request
    def forget_patience(error: BaseException | None) -> None:
        CURRENT_DEADLINE.set(UNLIMITED)
