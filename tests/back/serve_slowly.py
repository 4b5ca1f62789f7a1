"""Serves a view that takes its time, as the back end serves its own: PORT_FILE SECONDS SHUTDOWN_SECONDS.

Leaves in ``taken``, beside the port, how many requests it took on.
"""

import sys
import threading
import time
from pathlib import Path

from flask import Flask

from clipgpt_retrieval.back.graceful_server import GracefulServer

port_file, seconds, shutdown_seconds = sys.argv[1:]
app = Flask(__name__)
taken: list[float] = []


@app.post("/slow")
def slow() -> str:
    taken.append(time.monotonic())
    time.sleep(float(seconds))
    return "done"


server = GracefulServer(
    app,
    threading.Event(),
    host="127.0.0.1",
    port=0,
    threads=4,
    max_body_bytes=1000,
    shutdown_seconds=float(shutdown_seconds),
)
Path(port_file).write_text(str(server.port))
server.run()
Path(port_file).with_name("taken").write_text(str(len(taken)))
print("ended in order")
