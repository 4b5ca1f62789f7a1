"""A deployment restarts its servers while people use them: no request that was taken on is lost."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("serve_slowly.py")


class Served:
    """The server in a process of its own."""

    def __init__(self, folder: Path, *, seconds: float, shutdown_seconds: float) -> None:
        port_file = folder / "port"
        arguments = [str(port_file), str(seconds), str(shutdown_seconds)]
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        deadline = time.monotonic() + 120
        while not (port_file.exists() and port_file.read_text()):
            assert time.monotonic() < deadline and self.process.poll() is None, "the server did not start"
            time.sleep(0.02)
        self.port = int(port_file.read_text())
        self.url = f"http://127.0.0.1:{self.port}/slow"

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(**options):
        started.append(Served(tmp_path, **options))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
        served.process.communicate()


def test_what_was_accepted_is_answered(serve):
    """Sixteen requests for four threads: those at work, those in the queue, and those just connected."""
    served = serve(seconds=0.3, shutdown_seconds=30)
    sockets = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(16)]
    for one in sockets[:12]:
        one.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
    for one in sockets[12:]:  # half a request, of which the rest comes after the signal
        one.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
    served.process.send_signal(signal.SIGTERM)
    for one in sockets[12:]:
        one.sendall(b"b")
    for one in sockets:
        one.settimeout(30)
        answer = b"".join(iter(partial(one.recv, 4096), b""))
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert answer.endswith(b"done")
        one.close()
    assert served.end() == (0, "ended in order\n")


def test_under_load_every_request_is_answered_or_not_accepted(serve, tmp_path):
    """Clients that ask all the time meet answers, then a closed listener: never half an answer."""
    served = serve(seconds=0.02, shutdown_seconds=30)
    deadline = time.monotonic() + 60
    request = b"POST /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

    def ask(_):
        answered = 0
        while time.monotonic() < deadline:
            answer = b""
            try:
                with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
                    connection.sendall(request)
                    while received := connection.recv(4096):
                        answer += received
            except (ConnectionRefusedError, ConnectionResetError):
                # Reset is who comes between the last look at who waits and the closing of the listener.
                assert not answer, answer
                return answered
            assert answer.endswith(b"done"), answer
            answered += 1
        raise AssertionError("the server did not stop")

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, i) for i in range(8)]
        time.sleep(0.5)
        served.process.send_signal(signal.SIGTERM)
        answered = sum(one.result() for one in asked)
    assert served.end() == (0, "ended in order\n")
    assert answered == int((tmp_path / "taken").read_text()) > 0


def test_clients_that_keep_their_connection_are_told_that_it_ends(serve):
    served = serve(seconds=0.3, shutdown_seconds=30)
    with requests.Session() as session, ThreadPoolExecutor(1) as pool:
        assert "Connection" not in session.post(served.url).headers
        asked = pool.submit(session.post, served.url)
        time.sleep(0.1)
        served.process.send_signal(signal.SIGTERM)
        assert asked.result().headers["Connection"] == "close"
    assert served.end() == (0, "ended in order\n")


def test_an_idle_or_silent_client_does_not_hold_up_the_end(serve):
    served = serve(seconds=0, shutdown_seconds=30)
    with requests.Session() as session, socket.create_connection(("127.0.0.1", served.port)):
        session.post(served.url)
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.end()[0] == 0
        assert time.monotonic() - began < 20


def test_what_takes_too_long_is_cut_off_and_told(serve):
    served = serve(seconds=30, shutdown_seconds=0.5)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(requests.post, served.url)
        time.sleep(0.5)
        served.process.send_signal(signal.SIGTERM)
        status, output = served.end()
        assert status == 0
        assert "1 requests unanswered" in output
        with pytest.raises(requests.ConnectionError):
            asked.result()


def test_what_is_no_request_is_refused_in_json_before_it_is_read(serve):
    served = serve(seconds=0, shutdown_seconds=5)
    for sent, status in (
        (b"POST /slow HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", b"413"),
        (b"POST /slow HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /slow HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"\x00\x01\x02\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 300_000, b"431"),
    ):
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
            connection.sendall(sent)
            answer = b""
            with contextlib.suppress(ConnectionResetError):  # of one who has not sent all that was announced
                while part := connection.recv(65536):
                    answer += part
        assert answer[9:12] == status, (sent[:60], answer)
        assert b'{"error": {"field": "body"' in answer
    assert requests.post(served.url).text == "done"
