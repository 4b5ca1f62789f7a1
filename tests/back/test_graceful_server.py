"""The server: no accepted request is lost by a restart, and no client holds it alone."""

import contextlib
import re
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
from support import ServerProcess

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("serve_slowly.py")


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def start(*, seconds: float, shutdown_seconds: float, receive_seconds: float = 20) -> ServerProcess:
            arguments = (seconds, shutdown_seconds, receive_seconds)
            return stack.enter_context(ServerProcess(sys.executable, SCRIPT, *arguments))

        yield start


def stop_after(served: ServerProcess, taken: int) -> None:
    """Sends SIGTERM once so many requests have reached the view."""
    assert requests.get(f"{served.url}/taken/{taken}", timeout=60).text == "True"
    served.process.send_signal(signal.SIGTERM)


def requests_served(served: ServerProcess) -> int:
    """The number of requests that reached the view, at the end of the process."""
    status, printed = served.wait()
    assert status == 0, printed
    return int(re.search(r"ended in order after (\d+) requests\n$", printed)[1])


def test_accepted_requests_get_responses(serve):
    """Sixteen requests for four threads: in progress, in the queue, and just connected."""
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
    assert requests_served(served) == 16


def test_under_load_every_request_is_answered_or_not_accepted(serve):
    """Clients that send all the time get responses, then a closed listener: never half a response."""
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
                # Reset: the connection came between the last accept and the closing of the listener.
                assert not answer, answer
                return answered
            assert answer.endswith(b"done"), answer
            answered += 1
        raise AssertionError("the server did not stop")

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, i) for i in range(8)]
        stop_after(served, taken=40)
        answered = sum(one.result() for one in asked)
    assert answered == requests_served(served) >= 40


def test_clients_that_keep_their_connection_get_connection_close(serve):
    served = serve(seconds=0.3, shutdown_seconds=30)
    with requests.Session() as session, ThreadPoolExecutor(1) as pool:
        assert "Connection" not in session.post(f"{served.url}/slow").headers
        asked = pool.submit(session.post, f"{served.url}/slow")
        stop_after(served, taken=2)
        assert asked.result().headers["Connection"] == "close"
    assert requests_served(served) == 2


def test_an_idle_client_does_not_delay_the_shutdown(serve):
    served = serve(seconds=0, shutdown_seconds=30)
    with requests.Session() as session, socket.create_connection(("127.0.0.1", served.port)):
        session.post(f"{served.url}/slow")
        started = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert requests_served(served) == 1
        assert time.monotonic() - started < 20


def test_a_request_over_the_shutdown_time_is_cut_off_and_logged(serve):
    served = serve(seconds=30, shutdown_seconds=0.5)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(requests.post, f"{served.url}/slow")
        stop_after(served, taken=1)
        assert requests_served(served) == 1
        assert "1 unfinished requests" in served.printed
        with pytest.raises(requests.ConnectionError):
            asked.result()


def test_invalid_http_gets_a_json_error(serve):
    served = serve(seconds=0, shutdown_seconds=5)
    for sent, status in (
        (b"POST /slow HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", b"413"),
        (b"POST /slow HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /slow HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"\x00\x01\x02\r\n\r\n", b"400"),
        (b"POST /slow HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n", b"400"),
        (b"GET http://[::1/ HTTP/1.1\r\n\r\n", b"400"),
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
    assert requests.post(f"{served.url}/slow").text == "done"


def test_silent_and_slow_connections_do_not_close_the_server(serve):
    """A hundred of them did, for two minutes: some browsers that keep their connections would."""
    served = serve(seconds=0, shutdown_seconds=5)
    with contextlib.ExitStack() as stack:
        for i in range(200):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            if i % 2:
                one.sendall(b"POST /slow HTTP/1.1\r\nContent-Length: 500\r\n\r\nabc")
        assert requests.post(f"{served.url}/slow", timeout=10).text == "done"


def test_a_client_that_takes_too_long_to_send_a_request_is_disconnected(serve):
    served = serve(seconds=0, shutdown_seconds=5, receive_seconds=0.5)
    for sent in (b"", b"GET /hea", b"POST /slow HTTP/1.1\r\nContent-Length: 500\r\n\r\nabc"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as one:
            one.sendall(sent)
            assert one.recv(10) == b""
    assert requests.post(f"{served.url}/slow").text == "done"


def test_probes_are_answered_while_all_threads_are_busy(serve):
    """An orchestrator would kill a server that works."""
    served = serve(seconds=60, shutdown_seconds=0.1)
    held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(5)]
    for one in held[:4]:
        one.sendall(b"POST /slow HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    held[4].sendall(b"GET /taken/4 HTTP/1.1\r\n\r\n")  # waits for a thread
    assert requests.get(f"{served.url}/health", timeout=10).text == "ok"
    for one in held:
        one.close()


def test_an_overloaded_server_returns_503(serve):
    """Requests waited for a thread as long as their clients did."""
    served = serve(seconds=1.2, shutdown_seconds=5)
    with ThreadPoolExecutor(24) as pool:
        responses = list(pool.map(lambda _: requests.post(f"{served.url}/slow", timeout=30), range(24)))
    refused = [response for response in responses if response.status_code != 200]
    assert 4 <= len(responses) - len(refused) <= 20
    for response in refused:
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        assert response.json()["error"]["field"] == "server"
    assert requests_after(served) == len(responses) - len(refused)


def test_a_hangup_loses_no_request(serve):
    served = serve(seconds=0.3, shutdown_seconds=30)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(requests.post, f"{served.url}/slow")
        assert requests.get(f"{served.url}/taken/1", timeout=60).text == "True"
        served.process.send_signal(signal.SIGHUP)
        assert asked.result().text == "done"
    assert requests.post(f"{served.url}/slow").text == "done"
    assert requests_after(served) == 2
    assert "reloaded" in served.printed


def test_a_second_interrupt_ends_the_process_at_once(serve):
    served = serve(seconds=60, shutdown_seconds=60)
    with socket.create_connection(("127.0.0.1", served.port)) as one:
        one.sendall(b"POST /slow HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert requests.get(f"{served.url}/taken/1", timeout=60).text == "True"
        while served.process.poll() is None:
            served.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                served.process.wait(0.2)
    assert served.wait()[0] == 130
    assert "Traceback" not in served.printed


def requests_after(served: ServerProcess) -> int:
    """Ends the process; the number of requests that reached the view."""
    served.process.send_signal(signal.SIGTERM)
    return requests_served(served)
