"""Access control: the API key, and the origins of web pages."""

import hmac
from collections.abc import Sequence

from flask import Flask, request
from flask_cors import CORS
from werkzeug.datastructures import WWWAuthenticate

from clipgpt_retrieval.back.error_handlers import error_response
from clipgpt_retrieval.back.health import OPEN_PATHS
from clipgpt_retrieval.back.options import origin_pattern
from clipgpt_retrieval.errors import NotAllowedError


def allow_origins(app: Flask, origins: Sequence[str], expose_headers: Sequence[str]) -> None:
    """Lets web pages of these origins read the responses.

    Args:
        app: the app.
        origins: ``*`` is every origin, as upstream has it; ``https://*.my.site`` every subdomain of my.site.
        expose_headers: headers that the pages may read.
    """
    # flask_cors takes a string with a "*" or a "?" for a regular expression.
    patterns = ["*" if origin == "*" else origin_pattern(origin) for origin in origins]
    CORS(app, origins=patterns, expose_headers=list(expose_headers))


def require_api_key(app: Flask, key: str) -> None:
    """Refuses every request without the key, except to `OPEN_PATHS`.

    The key comes as ``X-API-Key``, as a bearer token, or as the password of basic authentication: a browser then
    prompts for it, and any client can have it in its URL, ``http://key:KEY@host``.
    """

    @app.before_request
    def refuse_without_key():  # type: ignore[no-untyped-def]
        # A preflight request of CORS carries no key.
        if request.method == "OPTIONS" or request.path in OPEN_PATHS:
            return None
        if any(_equal(given, key) for given in _given_keys()):
            return None
        response = error_response(NotAllowedError("api_key", "is missing or invalid: send it as X-API-Key: KEY"))
        response.www_authenticate = WWWAuthenticate("basic", {"realm": "clipgpt-retrieval"})
        return response


def _given_keys() -> list[str]:
    given = [request.headers.get("X-API-Key")]
    if request.authorization is not None:
        given += [request.authorization.token, request.authorization.get("password")]
    return [key for key in given if key]


def _equal(given: str, key: str) -> bool:
    # WSGI decodes headers as Latin-1, and clients encode them as Latin-1 or UTF-8.
    encoded = [given.encode(errors="replace"), given.encode("latin-1", errors="replace")]
    # In constant time, against timing attacks.
    return any(hmac.compare_digest(each, key.encode(errors="replace")) for each in encoded)
