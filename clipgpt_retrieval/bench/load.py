"""Concurrent clients for a load test, run by locust."""

import json
import math
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any

from clipgpt_retrieval.bench.options import SERVICE, BenchOptions
from clipgpt_retrieval.errors import DataError, InputError

PERCENTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Latencies:
    """The result of a load test; times in seconds.

    Attributes:
        requests: number of responses, errors included.
        failures: number of responses with a status other than 200.
        seconds: duration of the test.
        percentiles: latency by quantile.
        slowest: the highest latency.
        errors: number of occurrences of each error.
    """

    requests: int
    failures: int
    seconds: float
    percentiles: dict[float, float]
    slowest: float
    errors: dict[str, int]

    @property
    def throughput(self) -> float:
        """Successful responses per second."""
        return (self.requests - self.failures) / self.seconds

    def table(self) -> str:
        """The results as text, a line each."""
        lines = [
            f"{self.requests} responses in {self.seconds:.1f} s, {self.failures} of them errors",
            f"throughput  {self.throughput:10.1f} per second",
            *(f"p{100 * share:<10.0f} {1e3 * time:10.1f} ms" for share, time in self.percentiles.items()),
            f"slowest     {1e3 * self.slowest:10.1f} ms",
            *(f"{count} x {error}" for error, count in self.errors.items()),
        ]
        return "\n".join(lines)


def measure(options: BenchOptions, texts: Iterator[str]) -> Latencies:
    """Runs a load test.

    Args:
        options: see `BenchOptions`; ``texts`` and ``zipf`` are not read.
        texts: queries without an end, see `endless_texts`.

    Raises:
        InputError: locust is not installed.
        DataError: the URL is not that of a back end, or all its responses were errors.
    """
    if options.indice_name is None:  # a stock back end requires a name
        options = replace(options, indice_name=_first_index(options))
    environment = _environment(options, texts)
    started = time.monotonic()
    _run(environment, options)
    seconds = time.monotonic() - started
    total = environment.stats.total
    errors = {str(error.error): error.occurrences for error in environment.stats.errors.values()}
    if total.num_requests == total.num_failures:
        reason = next(iter(errors), "no response")
        raise DataError(f"all requests to {options.host}{SERVICE} failed ({reason}): is it the URL of a back end?")
    return Latencies(
        requests=total.num_requests,
        failures=total.num_failures,
        seconds=seconds,
        percentiles={share: total.get_response_time_percentile(share) / 1e3 for share in PERCENTILES},
        slowest=total.max_response_time / 1e3,
        errors=errors,
    )


def _first_index(options: BenchOptions) -> str:
    request = urllib.request.Request(f"{options.host}/indices-list", headers=options.headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)[0]
    except (OSError, ValueError, LookupError, HTTPException) as error:
        raise DataError(f"{options.host} lists no indices ({error}): is it the URL of a back end?") from error


def _environment(options: BenchOptions, texts: Iterator[str]) -> Any:
    try:
        # locust patches all sockets of the process, so no other module imports it.
        from locust import FastHttpUser, task
        from locust.env import Environment
    except ImportError as error:
        raise InputError("bench", "requires locust: pip install 'clipgpt-retrieval[bench]'") from error

    class Client(FastHttpUser):
        host = options.host

        @task
        def query(self) -> None:
            self.client.post(SERVICE, json=options.body(next(texts)), headers=options.headers)

    return Environment(user_classes=[Client])


def _run(environment: Any, options: BenchOptions) -> None:
    import gevent
    from tqdm import tqdm

    runner = environment.create_local_runner()
    runner.start(options.concurrency, spawn_rate=options.concurrency)
    end = time.monotonic() + options.seconds
    with tqdm(total=math.ceil(options.seconds), unit="s", leave=False, disable=options.seconds <= 2) as progress:
        while time.monotonic() < end:
            gevent.sleep(min(1.0, max(0.0, end - time.monotonic())))
            progress.update(1)
    runner.quit()
