"""Serving the back end with a production WSGI server."""

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
        message = f"cannot listen on {options.host}:{options.port}: {error.strerror}; give another"
        raise InputError("port", message) from error
    announce(f"http://{options.host}:{server.port}")
    server.run()
