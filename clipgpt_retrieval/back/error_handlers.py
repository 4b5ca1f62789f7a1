"""Whatever goes wrong is answered as ``{"error": {"field", "message"}}``, and never with the server's insides."""

from collections.abc import Callable
from typing import Any

from flask import Flask, jsonify
from flask_restful import Api
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from clipgpt_retrieval.back.request_log import LOGGER, current_request_id
from clipgpt_retrieval.errors import BusyError, InputError

_FIELDS = {404: "path", 405: "method"}
"""What is at fault where the web framework itself refuses a request; else it is the body."""


class JsonErrorsApi(Api):
    """flask-restful's Api, which would answer errors in a format of its own, and fails on a broken Host header."""

    def error_router(self, original_handler: Callable[[Exception], Any], e: Exception) -> Any:
        """Leaves every error to the app."""
        return original_handler(e)


def register_error_handlers(app: Flask) -> None:
    """Answers whatever the views of an app raise, clip-retrieval's among them."""
    app.register_error_handler(Exception, error_response)


def error_response(error: Exception) -> Response:
    """The answer to a request that ended in an error.

    Args:
        error: what the user can put right is told; of anything else only the id under which the log has it.
    """
    if isinstance(error, InputError):
        return _answer(error.status, error.field, error.message)
    if isinstance(error, BusyError):
        response = _answer(503, "server", error.message)
        response.headers["Retry-After"] = str(error.retry_after)
        return response
    if isinstance(error, HTTPException) and (error.response is not None or (error.code or 500) < 400):
        return error.get_response()
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return _refusal(error, error.code)
    LOGGER.error("a request failed", exc_info=error)
    return _answer(500, "server", f"failed; its log says why, under the request id {current_request_id()}")


def _refusal(error: HTTPException, status: int) -> Response:
    """What the web framework refuses, with the methods that are allowed where it knows them."""
    response = _answer(status, _FIELDS.get(status, "body"), error.description or error.name)
    allowed = error.get_response().headers.get("Allow")
    if allowed is not None:
        response.headers["Allow"] = allowed
    return response


def _answer(status: int, field: str, message: str) -> Response:
    response = jsonify({"error": {"field": field, "message": message}})
    response.status_code = status
    return response
