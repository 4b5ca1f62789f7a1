"""Serving the back end with a production WSGI server."""

from typing import Any

from clipgpt_retrieval.back.options import BackOptions, takes_back_options
from clipgpt_retrieval.errors import InputError


@takes_back_options
def serve(**flags: Any) -> None:
    """Serves the back end until ctrl-C or SIGTERM, which finish what has begun.

    Takes the flags of `clip-retrieval back`, and:
    """
    options = BackOptions(**flags)
    # Loading these takes seconds, and `clipgpt-retrieval back --help` need not wait for them.
    from clipgpt_retrieval.back.app import STOPPING, create_app
    from clipgpt_retrieval.back.graceful_server import GracefulServer
    from clipgpt_retrieval.back.request_log import log_as_json

    log_as_json()
    app = create_app(**flags)
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
        raise InputError("port", f"cannot listen on {options.host}:{options.port}: {error.strerror}") from error
    print(f"serving {options.indices_paths} on http://{options.host}:{server.port}", flush=True)
    server.run()
