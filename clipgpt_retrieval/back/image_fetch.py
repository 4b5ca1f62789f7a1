"""Fetches the images of a request: side by side, within one budget, and not from the private network."""

import ipaddress
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from clip_retrieval.clip_back import DOWNLOAD_TIME
from requests_hardened import Config, HTTPSession
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter

from clipgpt_retrieval.back.batching import CURRENT_DEADLINE
from clipgpt_retrieval.back.bounded_fetch import end_at
from clipgpt_retrieval.back.image_decoding import check_bytes
from clipgpt_retrieval.back.limits import Limits
from clipgpt_retrieval.errors import InputError, TooLargeError

CONNECT_SECONDS = 5
FETCH_SECONDS = 10
"""Time for all images of a request, with redirects and name resolution."""

MAX_REDIRECTS = 5

MAX_FETCHES = 32
"""Images fetched at once, for all requests."""

_FIELD = "image_url"
_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")


class _PublicAdapter(IPFilterAdapter):
    """Refuses all IPv6 outside the range of public addresses.

    The library's filter lets some ranges pass that are private (``fec0::``), or that routers may translate to private
    IPv4 addresses (``::a.b.c.d``, ``::ffff:0:a.b.c.d``).
    """

    def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:
        host_params, pool_kwargs = super().build_connection_pool_key_attributes(*args, **options)
        address = ipaddress.ip_address(host_params["host"].strip("[]").partition("%")[0])
        if address.version == 6 and address not in _PUBLIC_IPV6:
            raise InvalidIPAddress(address)
        return host_params, pool_kwargs


class _OneHopSession(HTTPSession):
    """Follows no redirects: requests would read the whole body of each, decompressed and without a size limit.

    Proxies and passwords from the environment are not used: a proxy would resolve the name itself, unchecked.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.trust_env = False
        if config.ip_filter_enable:
            self.mount("http://", _PublicAdapter(is_https_proto=False))
            self.mount("https://", _PublicAdapter(is_https_proto=True))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Budget:
    """Time and bytes for all fetches of a request.

    Args:
        seconds: until the deadline.
        limits: ``max_image_bytes`` for each image, ``max_body_bytes`` for all together: no more than can be sent.
    """

    def __init__(self, seconds: float, limits: Limits) -> None:
        self.deadline = time.monotonic() + seconds
        self._limits = limits
        self._bytes_left = limits.max_body_bytes
        self._lock = threading.Lock()

    def seconds_left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def end(self) -> None:
        """Makes running fetches fail soon."""
        self.deadline = float("-inf")

    def take(self, chunk: bytes, received: int) -> None:
        """Counts a chunk of an image of which ``received`` bytes have arrived with it.

        Raises:
            TooLargeError: the image, or all together, have too many bytes.
            TimeoutError: the deadline has passed.
        """
        check_bytes(received, _FIELD, self._limits)
        with self._lock:
            self._bytes_left -= len(chunk)
        if self._bytes_left < 0:
            raise TooLargeError(_FIELD, f"the images have more than {self._limits.max_body_bytes} bytes together")
        if self.seconds_left() == 0:
            raise TimeoutError


class ImageFetcher:
    """Fetches images from http and https URLs.

    Args:
        allow_private: also from this machine and its private network.
        limits: the largest image accepted.
    """

    def __init__(self, *, allow_private: bool, limits: Limits) -> None:
        self._limits = limits
        self._config = Config(
            ip_filter_enable=not allow_private,
            ip_filter_allow_loopback_ips=False,
            never_redirect=False,
            default_timeout=(CONNECT_SECONDS, FETCH_SECONDS),
            user_agent_override="Mozilla/5.0 (compatible; clipgpt-retrieval)",
        )
        # Threads, since the resolution of a name cannot be interrupted: a request leaves it behind at its deadline.
        self._threads = ThreadPoolExecutor(MAX_FETCHES, thread_name_prefix="fetch")

    def fetch(self, urls: Sequence[str]) -> list[bytes]:
        """What the URLs return, fetched side by side.

        Raises:
            InputError: another scheme, an address in a private network (before or after redirects), no response in
                time, or a status other than success.
            TooLargeError: too many bytes.
        """
        budget = _Budget(min(FETCH_SECONDS, CURRENT_DEADLINE.get().seconds_left()), self._limits)
        futures = [self._threads.submit(self._fetch, url, budget) for url in urls]
        try:
            done, _ = wait(futures, budget.seconds_left(), return_when=FIRST_EXCEPTION)
            for future in futures:
                if future in done and future.exception() is not None:
                    future.result()
            return [_result(future) for future in futures]
        finally:
            budget.end()
            for future in futures:
                future.cancel()

    def _fetch(self, url: str, budget: _Budget) -> bytes:
        try:
            if urlsplit(url).scheme not in ("http", "https"):
                raise InputError(_FIELD, "must begin with http:// or https://")
            with DOWNLOAD_TIME.time():
                return self._follow(url, budget)
        except InputError:
            raise
        except InvalidIPAddress as error:
            raise InputError(_FIELD, "resolves to a private network") from error
        except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise _late() from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise InputError(_FIELD, f"cannot be fetched ({type(error).__name__})") from error

    def _follow(self, url: str, budget: _Budget) -> bytes:
        with _OneHopSession(self._config) as session:
            end_at(session, budget.deadline)
            for _ in range(MAX_REDIRECTS + 1):
                with session.get(url, stream=True) as response:
                    target = HTTPSession.get_redirect_target(session, response)
                    if target is None:
                        return _body(response, budget)
                    url = urljoin(url, target)
        raise InputError(_FIELD, f"redirects more than {MAX_REDIRECTS} times")


def _body(response: requests.Response, budget: _Budget) -> bytes:
    if not response.ok:
        raise InputError(_FIELD, f"returned status {response.status_code}")
    data = bytearray()
    while chunk := response.raw.read1(2**16, decode_content=True):
        data += chunk
        budget.take(chunk, len(data))
    return bytes(data)


def _result(future: Future[bytes]) -> bytes:
    if not future.done():
        raise _late()
    return future.result()


def _late() -> InputError:
    return InputError(_FIELD, f"was not fetched within {FETCH_SECONDS} seconds")
