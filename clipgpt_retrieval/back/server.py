"""Serving the back end with a production WSGI server."""

import signal
import sys
import threading
from typing import Any

from clipgpt_retrieval.back.options import BackOptions, takes_back_options
from clipgpt_retrieval.errors import InputError


@takes_back_options
def serve(**flags: Any) -> None:
    """Serves the back end until ctrl-C or SIGTERM.

    Takes the flags of `clip-retrieval back`, and:
    """
    options = BackOptions(**flags)
    # Loading these takes seconds, and `clipgpt-retrieval back --help` need not wait for them.
    from waitress.server import create_server

    from clipgpt_retrieval.back.app import create_app

    app = create_app(**flags)
    try:
        server = create_server(
            app,
            host=options.host,
            port=options.port,
            threads=options.threads,
            # Reading on while a request is worked on is how waitress notices that its client has gone.
            channel_request_lookahead=1,
        )
    except OSError as error:
        raise InputError("port", f"cannot listen on {options.host}:{options.port}: {error.strerror}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"serving {options.indices_paths} on http://{options.host}:{options.port}", flush=True)
    server.run()
    server.close()
