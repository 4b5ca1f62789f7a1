"""waitress with an end that loses nothing: it lets nobody in any more, and finishes what it has begun."""

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
SILENT_SECONDS = 2.0
"""How long a stopping server waits for the first byte of a client that has connected and said nothing yet."""

Kind = TypeVar("Kind")


class _JsonErrorTask(ErrorTask):
    """What is no HTTP, or too large to be read, is refused as everything else is: in JSON."""

    def execute(self) -> None:
        """Answers before the app has seen the request."""
        error = self.request.error
        body = json.dumps({"error": {"field": "body", "message": error.reason}}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _ClosingTask(WSGITask):
    """Tells the client that its connection ends with this answer once the server stops."""

    def build_response_header(self) -> bytes:
        """The head of the answer."""
        if self.channel.server.stopping.is_set():
            self.set_close_on_finish()
        return super().build_response_header()


class _Channel(HTTPChannel):
    task_class = _ClosingTask
    error_task_class = _JsonErrorTask

    def is_busy(self) -> bool:
        """Whether the client is owed something: an answer, or the rest of one."""
        if self.requests or self.request is not None or self.total_outbufs_len:
            return True
        is_silent = self.last_activity == self.creation_time
        return is_silent and time.time() - self.creation_time < SILENT_SECONDS


class GracefulServer:
    """Serves a WSGI app over HTTP until it is told to stop.

    Args:
        app: what is served.
        stopping: set when the server is told to stop, for the app to know.
        host: address to listen on.
        port: to listen on.
        threads: requests that are worked on at once.
        max_body_bytes: larger bodies are refused before they are read.
        shutdown_seconds: how long a stop waits for what has begun.

    Raises:
        OSError: the address cannot be listened on.
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
        # It warns of every request that waits for a thread.
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
            # Reading on while a request is worked on is how waitress notices that its client has gone.
            channel_request_lookahead=1,
            # waitress refuses what has as many bytes as it is told, not what has more.
            max_request_body_size=max_body_bytes + 1,
        )
        self._tasks.set_thread_count(threads)
        for listener in self._of_kind(BaseWSGIServer):
            listener.channel_class = _Channel
            listener.stopping = stopping

    @property
    def port(self) -> int:
        """The port that is listened on, also where 0 asked for any."""
        return int(next(self._of_kind(BaseWSGIServer)).effective_port)

    def run(self) -> None:
        """Serves until `stop`, SIGTERM or ctrl-C, then finishes what has begun."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self.stop())
            signal.signal(signal.SIGINT, lambda *_: self._stop_politely())
        while not self._stopping.is_set():
            self._poll(POLL_SECONDS)
        self._finish()

    def stop(self) -> None:
        """Makes `run` finish what has begun and return; may be called from any thread or signal handler."""
        self._stopping.set()
        for listener in self._of_kind(BaseWSGIServer):
            listener.pull_trigger()

    def _stop_politely(self) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second ctrl-C does not wait
        self.stop()

    def _finish(self) -> None:
        self._close_listeners()
        deadline = time.monotonic() + self._shutdown_seconds
        self._poll(0)
        while (busy := self._busy_channels()) and time.monotonic() < deadline:
            self._poll(0.05)
        if busy:
            LOGGER.warning("stopped with %d requests unanswered after %s s", len(busy), self._shutdown_seconds)
        self._tasks.shutdown(timeout=1)
        wasyncore.close_all(self._sockets)

    def _close_listeners(self) -> None:
        """Takes in who has connected already, then stops listening; the threads' triggers stay."""
        for listener in list(self._of_kind(BaseWSGIServer)):
            let_in = -1
            while let_in != len(self._sockets):
                let_in = len(self._sockets)
                listener.handle_accept()
            wasyncore.dispatcher.close(listener)

    def _busy_channels(self) -> list[_Channel]:
        return [channel for channel in self._of_kind(_Channel) if channel.is_busy()]

    def _poll(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._sockets, count=1)

    def _of_kind(self, kind: type[Kind]) -> Iterator[Kind]:
        return (one for one in list(self._sockets.values()) if isinstance(one, kind))
