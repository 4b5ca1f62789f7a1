"""Fetching with a deadline: a timeout of requests limits each read, and a server can send single bytes without end."""

import io
import time
from http.client import HTTPResponse
from typing import Any

import requests


def end_at(session: requests.Session, deadline: float) -> None:
    """Limits the total time of a session: redirects, handshakes, headers and bodies.

    After the deadline, reads raise ``TimeoutError``, as requests and urllib3 wrap it.

    Args:
        session: not connected yet.
        deadline: on the clock of ``time.monotonic``.
    """
    for adapter in session.adapters.values():
        manager: Any = adapter.poolmanager  # type: ignore[attr-defined]
        manager.pool_classes_by_scheme = {
            scheme: _bounded(pool_class, deadline) for scheme, pool_class in manager.pool_classes_by_scheme.items()
        }


def _bounded(pool_class: Any, deadline: float) -> Any:
    """A urllib3 connection pool with a deadline."""

    class Connection(pool_class.ConnectionCls):
        timeout: float

        def connect(self) -> None:
            self.timeout = min(self.timeout, _seconds_until(deadline))
            super().connect()

        def response_class(self, sock: Any, *args: Any, **options: Any) -> HTTPResponse:
            response = HTTPResponse(sock, *args, **options)
            response.fp.close()
            response.fp = io.BufferedReader(_UntilDeadline(sock, deadline))
            return response

    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": Connection})


class _UntilDeadline(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock = sock
        self._received = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_seconds_until(self._deadline))
        return self._received.readinto(buffer)

    def close(self) -> None:
        self._received.close()
        super().close()


def _seconds_until(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left
