"""Error responses: ``{"error": {"field", "message"}}`` for every exception, without details of internal errors."""

from collections.abc import Callable
from typing import Any

from flask import Flask, jsonify
from flask_restful import Api
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from clipgpt_retrieval.back.request_log import LOGGER, current_request_id
from clipgpt_retrieval.errors import BusyError, InputError

_FIELDS = {404: "path", 405: "method"}
"""The field of errors raised by the web framework, by status; ``body`` for others."""

MAX_LENGTH = 600
"""Of the fields and messages of errors, in characters."""


class JsonErrorsApi(Api):
    """flask-restful's Api without its own error format, which also fails on an invalid Host header."""

    def error_router(self, original_handler: Callable[[Exception], Any], e: Exception) -> Any:
        """Leaves every error to the app."""
        return original_handler(e)


def register_error_handlers(app: Flask) -> None:
    """Handles all exceptions of the views of an app, clip-retrieval's included."""
    app.register_error_handler(Exception, error_response)


def error_response(error: Exception) -> Response:
    """The response to a request that raised an error.

    Args:
        error: the message of an error of the request is returned; of any other error, only the request id of its log
            entry.
    """
    if isinstance(error, InputError):
        return _json_error(error.status, error.field, error.message)
    if isinstance(error, BusyError):
        response = _json_error(503, "server", error.message)
        response.headers["Retry-After"] = str(error.retry_after)
        return response
    if isinstance(error, HTTPException) and (error.response is not None or (error.code or 500) < 400):
        return error.get_response()
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return _http_error(error, error.code)
    LOGGER.error("request failed", exc_info=error)
    return _json_error(500, "server", f"internal error: see the log for request id {current_request_id()}")


def _http_error(error: HTTPException, status: int) -> Response:
    """The response to an error of the web framework, with its header of allowed methods."""
    response = _json_error(status, _FIELDS.get(status, "body"), error.description or error.name)
    allowed = error.get_response().headers.get("Allow")
    if allowed is not None:
        response.headers["Allow"] = allowed
    return response


def _json_error(status: int, field: str, message: str) -> Response:
    response = jsonify({"error": {"field": _shortened(field), "message": _shortened(message)}})
    response.status_code = status
    return response


def _shortened(text: str) -> str:
    """Some messages quote the request, which may have megabytes."""
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH // 2]} ... {text[-MAX_LENGTH // 2 :]}"
