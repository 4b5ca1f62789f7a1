"""Serves a slow view as the back end serves its own: SECONDS SHUTDOWN_SECONDS [RECEIVE_SECONDS].

Prints its address once it listens, and at the end the number of requests that reached the view.
"""

import sys
import threading
import time

from flask import Flask

from clipgpt_retrieval.back import graceful_server
from clipgpt_retrieval.back.graceful_server import GracefulServer

seconds, shutdown_seconds = map(float, sys.argv[1:3])
graceful_server.RECEIVE_SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 20
app = Flask(__name__)
taken = 0
changed = threading.Condition()


@app.post("/slow")
def slow() -> str:
    global taken
    with changed:
        taken += 1
        changed.notify_all()
    time.sleep(seconds)
    return "done"


@app.get("/health")
def health() -> str:
    return "ok"


@app.get("/taken/<int:count>")
def wait_for_taken(count: int) -> str:
    """Responds once so many requests have reached the view."""
    with changed:
        return str(changed.wait_for(lambda: taken >= count, timeout=30))


server = GracefulServer(
    app,
    threading.Event(),
    host="127.0.0.1",
    port=0,
    threads=4,
    max_body_bytes=1000,
    shutdown_seconds=shutdown_seconds,
    reload=lambda: print("reloaded", flush=True),
)
server.handle_signals()
print(f"http://127.0.0.1:{server.port}", flush=True)
server.run()
print(f"ended in order after {taken} requests")
