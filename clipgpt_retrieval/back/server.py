"""Serving the back end with a production WSGI server."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clipgpt_retrieval.back.options import BackOptions, takes_back_options
from clipgpt_retrieval.errors import InputError

if TYPE_CHECKING:
    from flask import Flask


@takes_back_options
def serve(**flags: Any) -> None:
    """Serves the back end until ctrl-C or SIGTERM, which finish what has begun.

    Takes the flags of `clip-retrieval back` with their defaults, and from clipgpt_model on its own.
    """
    options = BackOptions(**flags)
    check_address(options)
    # Loading these takes seconds, and `clipgpt-retrieval back --help` need not wait for them.
    from clipgpt_retrieval.back.app import create_app
    from clipgpt_retrieval.back.request_log import log_as_json

    log_as_json()

    def announce(url: str) -> None:
        # Not every browser takes 0.0.0.0 for this machine.
        here = f", here http://localhost:{url.rpartition(':')[2]}" if options.host == "0.0.0.0" else ""
        print(f"serving {options.indices_paths} on {url}{here}", flush=True)

    serve_app(create_app(**flags), options, announce)


def serve_app(app: "Flask", options: BackOptions, announce: Callable[[str], None]) -> None:
    """Serves an app of `create_app` until ctrl-C or SIGTERM.

    Args:
        app: what is served.
        options: where and how.
        announce: called with the address once it is listened on.

    Raises:
        InputError: the address cannot be listened on.
    """
    from clipgpt_retrieval.back.app import STOPPING
    from clipgpt_retrieval.back.graceful_server import GracefulServer

    try:
        server = GracefulServer(
            app,
            app.extensions[STOPPING],
            host=options.host,
            port=options.port,
            threads=options.threads,
            max_body_bytes=options.max_body_bytes,
            shutdown_seconds=options.shutdown_seconds,
        )
    except OSError as error:
        raise _cannot_listen(options, error) from error
    announce(f"http://{options.host}:{server.port}")
    server.run()


def check_address(options: BackOptions) -> None:
    """Refuses an address that cannot be listened on before minutes of loading, not after them.

    Raises:
        InputError: it cannot.
    """
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (OSError, UnicodeError) as error:  # the latter of names that cannot be spelled for a name server
        raise _cannot_listen(options, error) from error


def _cannot_listen(options: BackOptions, error: OSError | UnicodeError) -> InputError:
    reason = getattr(error, "strerror", None) or error
    message = f"cannot listen on {options.host}:{options.port}: {reason}; give another address"
    return InputError("port", message)
