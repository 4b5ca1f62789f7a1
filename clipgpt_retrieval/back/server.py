"""Serving the back end with a production WSGI server."""

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from clipgpt_retrieval.back.options import BackOptions
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import takes_options

if TYPE_CHECKING:
    from flask import Flask


@takes_options(BackOptions)
def serve(options: BackOptions) -> None:
    """Serves the back end until ctrl-C or SIGTERM, then finishes the requests in progress.

    Takes the flags of `clip-retrieval back` with their defaults, and its own from clipgpt_model on.
    """
    check_address(options)
    set_process_defaults()
    # Importing these takes seconds, which `clipgpt-retrieval back --help` does not need.
    from clipgpt_retrieval.back.app import create_app
    from clipgpt_retrieval.back.request_log import log_to_stderr

    log_to_stderr()

    def announce(url: str) -> None:
        # Not every browser resolves 0.0.0.0 to this machine.
        here = f", locally http://localhost:{url.rpartition(':')[2]}" if options.host == "0.0.0.0" else ""
        print(f"serving {options.indices_paths} on {url}{here}", flush=True)

    serve_app(create_app(**vars(options)), options, announce)


def serve_app(app: "Flask", options: BackOptions, announce: Callable[[str], None]) -> None:
    """Serves an app of `create_app` until ctrl-C or SIGTERM.

    Args:
        app: the app.
        options: address, threads and limits of the server.
        announce: called with the URL once the server listens.

    Raises:
        InputError: the server cannot listen on the address.
    """
    from clipgpt_retrieval.back.app import STOPPING
    from clipgpt_retrieval.back.graceful_server import GracefulServer
    from clipgpt_retrieval.back.indices import reload_indices

    try:
        server = GracefulServer(
            app,
            app.extensions[STOPPING],
            host=options.host,
            port=options.port,
            threads=options.threads,
            max_body_bytes=options.max_body_bytes,
            shutdown_seconds=options.shutdown_seconds,
            reload=partial(reload_indices, app),
        )
    except OSError as error:
        raise _cannot_listen(options, error) from error
    server.handle_signals()
    host = f"[{options.host}]" if ":" in options.host else options.host  # an IPv6 address
    announce(f"http://{host}:{server.port}")
    server.run()


def set_process_defaults() -> None:
    """Sets environment variables that torch and Pillow read when they are imported, unless the user has set them.

    OpenMP's threads sleep while they wait: they would spin by default, which takes the processor from other programs
    and from other threads of this server. Pillow allocates large images in blocks so large that malloc returns them
    to the system: it keeps smaller ones for each thread that ever decoded an image.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PILLOW_BLOCK_SIZE", "64m")


def check_address(options: BackOptions) -> None:
    """Checks that the server can listen on the address, before it loads for minutes.

    Raises:
        InputError: the address is in use, not of this machine, or invalid.
    """
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that IDNA cannot encode
        raise _cannot_listen(options, error) from error


def _cannot_listen(options: BackOptions, error: OSError | UnicodeError) -> InputError:
    reason = getattr(error, "strerror", None) or error
    message = f"cannot listen on {options.host}:{options.port}: {reason}; give another address"
    return InputError("port", message)
