"""One log line per request, and the request id in logs and responses."""

import logging
import re
import sys
import time
import uuid

from flask import Flask, Response, g, has_request_context, request
from pythonjsonlogger.json import JsonFormatter

from clipgpt_retrieval.back.metrics import HTTP_TIME

LOGGER = logging.getLogger("clipgpt_retrieval.requests")

HEADER = "X-Request-ID"
"""The id of a proxy is kept, so that its log and ours agree."""

# Without characters that could forge a log line or a header.
_USABLE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


def log_requests(app: Flask) -> None:
    """Gives each request of an app an id, logs it and records its time."""

    @app.before_request
    def start() -> None:
        given = request.headers.get(HEADER, "")
        g.request_id = given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex
        g.started = time.perf_counter()

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers[HEADER] = g.request_id
        seconds = time.perf_counter() - g.started
        # The rule, not the path: arbitrary paths would create arbitrarily many time series.
        rule = request.url_rule.rule if request.url_rule is not None else "none"
        HTTP_TIME.labels(rule, str(response.status_code)).observe(seconds)
        LOGGER.info(
            "request",
            extra={
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "seconds": round(seconds, 6),
                "bytes": response.content_length,
                "client": request.remote_addr,
            },
        )
        return response


def current_request_id() -> str | None:
    """The id of the current request, or None outside of a request."""
    return g.get("request_id") if has_request_context() else None


def log_as_json() -> None:
    """Logs to standard error, one JSON object per line; lines within a request have its id."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            "{message}{levelname}{name}",
            style="{",
            timestamp=True,
            rename_fields={"levelname": "level", "name": "logger"},
        )
    )
    handler.addFilter(_with_request_id)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def log_to_stderr() -> None:
    """Logs to standard error: short lines on a terminal, else as `log_as_json`."""
    if not sys.stderr.isatty():
        log_as_json()
        return
    handler = logging.StreamHandler()
    handler.setFormatter(TerminalFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class TerminalFormatter(logging.Formatter):
    """Lines for a person: the time, the message, and of a request its path, status and duration.

    Examples:
        >>> record = logging.makeLogRecord({"levelname": "WARNING", "msg": "the queue is full", "created": 0})
        >>> TerminalFormatter().format(record)[9:]
        'warning: the queue is full'
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record, without its traceback."""
        if record.name == LOGGER.name:
            # Of the path, what could move the cursor or change colours is left out.
            path = "".join(filter(str.isprintable, vars(record)["path"]))
            record.message = "{method} {0} {status} in {seconds:.3f} s".format(path, **vars(record))
        elif record.levelno > logging.INFO:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)


def _with_request_id(record: logging.LogRecord) -> bool:
    request_id = current_request_id()
    if request_id is not None:
        record.request_id = request_id
    return True
