"""waitress with a graceful shutdown: it stops accepting connections and finishes the requests in progress."""

import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, TypeVar

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

LOGGER = logging.getLogger(__name__)

POLL_SECONDS = 1.0
IDLE_SECONDS = 2.0
"""How long a stopping server waits for the first byte of a new connection."""

Kind = TypeVar("Kind")


class _JsonErrorTask(ErrorTask):
    """JSON errors for requests that waitress itself refuses: invalid HTTP, or a body that is too large."""

    def execute(self) -> None:
        """Writes the error; the app does not see the request."""
        error = self.request.error
        body = json.dumps({"error": {"field": "body", "message": error.reason}}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _ClosingTask(WSGITask):
    """Closes the connection after the response while the server stops, and tells the client so."""

    def build_response_header(self) -> bytes:
        """The header of the response."""
        if self.channel.server.stopping.is_set():
            self.set_close_on_finish()
        return super().build_response_header()


class _Channel(HTTPChannel):
    task_class = _ClosingTask
    error_task_class = _JsonErrorTask

    def is_busy(self) -> bool:
        """Whether a request is being received, processed or answered, or the connection is new."""
        if self.requests or self.request is not None or self.total_outbufs_len:
            return True
        is_new = self.last_activity == self.creation_time
        return is_new and time.time() - self.creation_time < IDLE_SECONDS


class GracefulServer:
    """Serves a WSGI app over HTTP until `stop`.

    Args:
        app: the app.
        stopping: set on shutdown, so that the app knows.
        host: address to listen on.
        port: to listen on; 0 takes a free one.
        threads: requests processed at once.
        max_body_bytes: larger bodies are refused before they are read.
        shutdown_seconds: how long a shutdown waits for the requests in progress.

    Raises:
        OSError: the server cannot listen on the address.
    """

    def __init__(
        self,
        app: Flask,
        stopping: threading.Event,
        *,
        host: str,
        port: int,
        threads: int,
        max_body_bytes: int,
        shutdown_seconds: float,
    ) -> None:
        # It logs a warning for every request that waits for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._stopping = stopping
        self._shutdown_seconds = shutdown_seconds
        self._sockets: dict[int, Any] = {}
        self._tasks = ThreadedTaskDispatcher()
        create_server(
            app,
            map=self._sockets,
            _dispatcher=self._tasks,
            host=host,
            port=port,
            threads=threads,
            # waitress notices a closed connection by reading ahead while a request is processed.
            channel_request_lookahead=1,
            # waitress already refuses a body of exactly this size.
            max_request_body_size=max_body_bytes + 1,
        )
        self._tasks.set_thread_count(threads)
        for listener in self._of_kind(BaseWSGIServer):
            listener.channel_class = _Channel
            listener.stopping = stopping

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(next(self._of_kind(BaseWSGIServer)).effective_port)

    def handle_signals(self) -> None:
        """Makes SIGTERM and ctrl-C call `stop`, in the main thread; before anyone is told the address."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self.stop())
            signal.signal(signal.SIGINT, lambda *_: self._stop_on_interrupt())

    def run(self) -> None:
        """Serves until `stop`, then finishes the requests in progress."""
        while not self._stopping.is_set():
            self._poll(POLL_SECONDS)
        self._finish()

    def stop(self) -> None:
        """Makes `run` finish the requests in progress and return; callable from any thread or signal handler."""
        self._stopping.set()
        for listener in self._of_kind(BaseWSGIServer):
            listener.pull_trigger()

    def _stop_on_interrupt(self) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second ctrl-C stops at once
        self.stop()

    def _finish(self) -> None:
        self._close_listeners()
        deadline = time.monotonic() + self._shutdown_seconds
        self._poll(0)
        while (busy := self._busy_channels()) and time.monotonic() < deadline:
            self._poll(0.05)
        if busy:
            LOGGER.warning("stopped with %d unfinished requests after %s s", len(busy), self._shutdown_seconds)
        self._tasks.shutdown(timeout=1)
        wasyncore.close_all(self._sockets)

    def _close_listeners(self) -> None:
        """Accepts the connections in the backlog, then stops listening; the triggers of the threads stay open."""
        for listener in list(self._of_kind(BaseWSGIServer)):
            accepted = -1
            while accepted != len(self._sockets):
                accepted = len(self._sockets)
                listener.handle_accept()
            wasyncore.dispatcher.close(listener)

    def _busy_channels(self) -> list[_Channel]:
        return [channel for channel in self._of_kind(_Channel) if channel.is_busy()]

    def _poll(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._sockets, count=1)

    def _of_kind(self, kind: type[Kind]) -> Iterator[Kind]:
        return (each for each in list(self._sockets.values()) if isinstance(each, kind))
