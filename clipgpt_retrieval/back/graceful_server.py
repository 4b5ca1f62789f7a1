"""waitress with a graceful shutdown and a limit to what one client can hold: connections, time, threads.

On shutdown it stops accepting connections and finishes the requests in progress.
"""

import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import Error

from clipgpt_retrieval.back.health import OPEN_PATHS

LOGGER = logging.getLogger(__name__)

POLL_SECONDS = 0.25
IDLE_SECONDS = 2.0
"""How long a stopping server waits for the first byte of a new connection."""

MAX_CONNECTIONS = 1000
RECEIVE_SECONDS = 20.0
"""How long a client may take to send a request; `MIN_BYTES_PER_SECOND` extends it for large bodies."""

MIN_BYTES_PER_SECOND = 2**14
MAX_INCOMPLETE_BYTES = 2**30
"""Of all requests that are being received; waitress stores large ones in temporary files."""

KEEP_ALIVE_SECONDS = 60.0
QUEUE_SECONDS = 1.0
"""How long a request waits for a thread while more requests wait than there are threads."""

Kind = TypeVar("Kind")


class _BusyError(Error):
    code = 503
    reason = "server overloaded: all threads are busy, retry later"


class _Parser(HTTPRequestParser):
    """Returns 400 for whatever it cannot parse: waitress's parser lets some of Python's own errors through."""

    def parse_header(self, header_plus: bytes) -> None:
        """Reads the request line and the headers."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # a number of thousands of digits, half of an IPv6 address
            raise ParsingError("Invalid request line or header") from error


class _JsonErrorTask(ErrorTask):
    """JSON errors for requests that the app does not see: invalid HTTP, too large a body, no free thread."""

    def execute(self) -> None:
        """Writes the error."""
        error = self.request.error
        is_busy = isinstance(error, _BusyError)
        field = "server" if is_busy else "body"
        body = json.dumps({"error": {"field": field, "message": error.reason}}).encode()
        self.status = f"{error.code} {'Service Unavailable' if is_busy else error.reason}"
        self.response_headers += [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]
        if is_busy:
            self.response_headers.append(("Retry-After", "1"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _ClosingTask(WSGITask):
    """Closes the connection after the response while the server stops, and announces it in the response."""

    def build_response_header(self) -> bytes:
        """The header of the response."""
        if self.channel.server.stopping.is_set():
            self.set_close_on_finish()
        return super().build_response_header()


class _Channel(HTTPChannel):
    task_class = _ClosingTask
    error_task_class = _JsonErrorTask
    parser_class = _Parser

    queued_at = 0.0
    """When its current request began to wait for a thread."""

    receiving_since: float | None = None

    def received(self, data: bytes) -> bool:
        """Takes data from the client."""
        was_between_requests = self.request is None
        taken = super().received(data)
        if self.request is None:
            self.receiving_since = None
        elif was_between_requests or self.receiving_since is None:
            self.receiving_since = time.time()
        return taken

    def is_busy(self) -> bool:
        """Whether a request is being received, processed or responded to, or the connection is new."""
        if self.requests or self.request is not None or self.total_outbufs_len:
            return True
        is_new = self.last_activity == self.creation_time
        return is_new and time.time() - self.creation_time < IDLE_SECONDS

    def received_bytes(self) -> int:
        """Bytes received of a request that is not complete."""
        return 0 if self.request is None else self.request.header_bytes_received + self.request.body_bytes_received

    def is_overdue(self, now: float) -> bool:
        """Whether the client has taken too long to send a request, to begin one, or to read its response."""
        if self.receiving_since is not None:
            return now - self.receiving_since > RECEIVE_SECONDS + self.received_bytes() / MIN_BYTES_PER_SECOND
        is_new = self.last_activity == self.creation_time
        return now - self.last_activity > (RECEIVE_SECONDS if is_new else KEEP_ALIVE_SECONDS)


class _Dispatcher(ThreadedTaskDispatcher):
    """Threads for the requests, and one of its own for probes and refusals, which do not wait for the others."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._max_waiting = threads
        self._quick = ThreadedTaskDispatcher()
        self._quick.set_thread_count(1)
        self.set_thread_count(threads)

    def add_task(self, task: _Channel) -> None:
        """Queues the first request of a channel."""
        first = task.requests[0]
        if first.error or first.path in OPEN_PATHS:
            self._quick.add_task(task)
            return
        task.queued_at = time.monotonic()
        super().add_task(task)

    def refuse_waiting(self) -> None:
        """Refuses the requests that have waited too long, as long as more wait than there are threads."""
        latest = time.monotonic() - QUEUE_SECONDS
        refused = []
        with self.lock:
            while len(self.queue) > self._max_waiting and self.queue[0].queued_at < latest:
                refused.append(self.queue.popleft())
        for channel in refused:
            channel.requests[0].error = _BusyError("")
            self._quick.add_task(channel)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """Ends all threads."""
        self._quick.shutdown(cancel_pending, timeout)
        return super().shutdown(cancel_pending, timeout)


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
        reload: called in a thread after SIGHUP, while requests are processed.

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
        reload: Callable[[], object],
    ) -> None:
        # It logs a warning for every request that waits for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._stopping = stopping
        self._shutdown_seconds = shutdown_seconds
        self._reload = reload
        self._sockets: dict[int, Any] = {}
        self._tasks = _Dispatcher(threads)
        self._max_connections = _max_connections()
        create_server(
            app,
            map=self._sockets,
            _dispatcher=self._tasks,
            host=host,
            port=port,
            threads=threads,
            backlog=MAX_CONNECTIONS,
            outbuf_high_watermark=2**31,  # above it a thread would wait for a client that does not read its response
            connection_limit=self._max_connections,
            # waitress notices a closed connection by reading ahead while a request is processed.
            channel_request_lookahead=1,
            # waitress already refuses a body of exactly this size.
            max_request_body_size=max_body_bytes + 1,
        )
        for listener in self._of_kind(BaseWSGIServer):
            listener.channel_class = _Channel
            listener.stopping = stopping

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(next(self._of_kind(BaseWSGIServer)).effective_port)

    def handle_signals(self) -> None:
        """Takes SIGTERM, ctrl-C and SIGHUP, in the main thread; call it before the address is announced."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self.stop())
            signal.signal(signal.SIGINT, lambda *_: self._stop_on_interrupt())
            signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=self._reload, daemon=True).start())

    def run(self) -> None:
        """Serves until `stop`, then finishes the requests in progress."""
        while not self._stopping.is_set():
            self._poll(POLL_SECONDS)
            self._close_overdue()
            self._tasks.refuse_waiting()
        self._finish()

    def stop(self) -> None:
        """Makes `run` finish the requests in progress and return; callable from any thread or signal handler."""
        self._stopping.set()
        for listener in self._of_kind(BaseWSGIServer):
            listener.pull_trigger()

    def _stop_on_interrupt(self) -> None:
        signal.signal(signal.SIGINT, _exit_at_once)
        self.stop()

    def _close_overdue(self) -> None:
        """Closes the connections of clients that are too slow; near the limit also others, the longest idle first."""
        now = time.time()
        without_work = [channel for channel in self._of_kind(_Channel) if not channel.requests]
        closed = [channel for channel in without_work if channel.is_overdue(now)]
        excess = len(self._sockets) - self._max_connections * 9 // 10
        if excess > 0:
            closed += sorted(without_work, key=lambda channel: channel.last_activity)[:excess]
        if sum(channel.received_bytes() for channel in without_work) > MAX_INCOMPLETE_BYTES:
            closed.append(max(without_work, key=_Channel.received_bytes))
        for channel in set(closed):
            channel.handle_close()

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


def _max_connections() -> int:
    """Half of the files that this process may open, since indexes and models need some too."""
    return min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def _exit_at_once(*_: Any) -> None:
    # Without the interpreter's own ending, which threads that still compute would turn into an abort.
    sys.stdout.flush()
    os._exit(130)
