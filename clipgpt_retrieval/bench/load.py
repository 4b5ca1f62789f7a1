"""Load from many clients at once, by locust."""

import json
import math
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any

from clipgpt_retrieval.errors import DataError, InputError

SERVICE = "/knn-service"
PERCENTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Load:
    """What is asked of which back end.

    Attributes:
        url: of the back end.
        concurrency: clients at once, each of which asks anew as soon as it has its answer.
        seconds: how long.
        indice_name: the index, or None for the first.
        num_images: results of a query.
        caption_results: how many of them with a caption.
        api_key: for a back end that asks for one.

    Raises:
        InputError: a value that cannot be meant.
    """

    url: str
    concurrency: int = 32
    seconds: float = 30.0
    indice_name: str | None = None
    num_images: int = 10
    caption_results: int = 0
    api_key: str | None = None

    def __post_init__(self) -> None:
        if not str(self.url).startswith(("http://", "https://")):
            raise InputError("url", f"is {self.url!r}: it must begin with http:// or https://")
        for name, least in (("concurrency", 1), ("num_images", 1), ("caption_results", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(name, f"is {value!r}: give a number from {least} up")
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, (int, float)) or self.seconds <= 0:
            raise InputError("seconds", f"is {self.seconds!r}: give a number above 0")

    @property
    def host(self) -> str:
        """The back end's address without the service."""
        return self.url.rstrip("/").removesuffix(SERVICE)

    @property
    def headers(self) -> dict[str, str]:
        """What each request carries."""
        return {} if self.api_key is None else {"X-API-Key": self.api_key}

    def body(self, text: str) -> dict[str, Any]:
        """One query, with no field that a stock back end does not need."""
        body: dict[str, Any] = {"text": text, "modality": "image", "num_images": self.num_images}
        if self.indice_name is not None:
            body["indice_name"] = self.indice_name
        if self.caption_results:
            body["caption_results"] = self.caption_results
        return body


@dataclass(frozen=True)
class Latencies:
    """What a load test measured; times in seconds.

    Attributes:
        requests: answered, errors included.
        failures: of them, those that were no 200.
        seconds: how long it went on.
        percentiles: time to an answer, by share.
        slowest: the longest time to an answer.
        errors: how often each error came.
    """

    requests: int
    failures: int
    seconds: float
    percentiles: dict[float, float]
    slowest: float
    errors: dict[str, int]

    @property
    def throughput(self) -> float:
        """Good answers a second."""
        return (self.requests - self.failures) / self.seconds

    def table(self) -> str:
        """The figures for people."""
        lines = [
            f"{self.requests} answers in {self.seconds:.1f} s, {self.failures} of them errors",
            f"throughput  {self.throughput:10.1f} a second",
            *(f"p{100 * share:<10.0f} {1e3 * time:10.1f} ms" for share, time in self.percentiles.items()),
            f"slowest     {1e3 * self.slowest:10.1f} ms",
            *(f"{count} x {error}" for error, count in self.errors.items()),
        ]
        return "\n".join(lines)


def measure(load: Load, texts: Iterator[str]) -> Latencies:
    """Puts the load on the back end.

    Raises:
        InputError: locust is not installed.
        DataError: there is no back end, or it gave not one good answer.
    """
    if load.indice_name is None:  # a stock back end needs a name
        load = replace(load, indice_name=_first_index(load))
    environment = _environment(load, texts)
    started = time.monotonic()
    _run(environment, load)
    seconds = time.monotonic() - started
    total = environment.stats.total
    errors = {str(error.error): error.occurrences for error in environment.stats.errors.values()}
    if total.num_requests == total.num_failures:
        told = next(iter(errors), "no answer at all")
        raise DataError(f"{load.host}{SERVICE} gave no good answer ({told}): is it the address of a back end?")
    return Latencies(
        requests=total.num_requests,
        failures=total.num_failures,
        seconds=seconds,
        percentiles={share: total.get_response_time_percentile(share) / 1e3 for share in PERCENTILES},
        slowest=total.max_response_time / 1e3,
        errors=errors,
    )


def _first_index(load: Load) -> str:
    asked = urllib.request.Request(f"{load.host}/indices-list", headers=load.headers)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)[0]
    except (OSError, ValueError, LookupError, HTTPException) as error:
        raise DataError(f"{load.host} lists no indices ({error}): is it the address of a back end?") from error


def _environment(load: Load, texts: Iterator[str]) -> Any:
    try:
        # It makes all sockets of this process asynchronous, so nothing but this command may import it.
        from locust import FastHttpUser, task
        from locust.env import Environment
    except ImportError as error:
        raise InputError("bench", "needs locust: pip install 'clipgpt-retrieval[bench]'") from error

    class Client(FastHttpUser):
        host = load.host

        @task
        def ask(self) -> None:
            self.client.post(SERVICE, json=load.body(next(texts)), headers=load.headers)

    return Environment(user_classes=[Client])


def _run(environment: Any, load: Load) -> None:
    import gevent
    from tqdm import tqdm

    runner = environment.create_local_runner()
    runner.start(load.concurrency, spawn_rate=load.concurrency)
    end = time.monotonic() + load.seconds
    with tqdm(total=math.ceil(load.seconds), unit="s", leave=False, disable=load.seconds <= 2) as progress:
        while time.monotonic() < end:
            gevent.sleep(min(1.0, max(0.0, end - time.monotonic())))
            progress.update(1)
    runner.quit()
