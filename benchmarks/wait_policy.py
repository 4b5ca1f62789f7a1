"""What OpenMP's wait policy costs a server: four clients with texts and images, by OMP_WAIT_POLICY.

``python benchmarks/wait_policy.py [--busy 2] [--rounds 2]`` serves the demo with default flags, beside ``--busy``
processes that only compute. The policies take turns.
"""

import argparse
import base64
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from _back_ends import running

CLIENTS = 4
REQUESTS = 40


@contextmanager
def computing(count: int) -> Iterator[None]:
    """Processes that take the processor from the server."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def image() -> str:
    """A JPEG in base64."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (300, 300), "red").save(data, "JPEG")
    return base64.b64encode(data.getvalue()).decode()


def measure(url: str) -> dict[str, list[float]]:
    """Seconds of each request, a quarter of which are images."""
    sent = image()
    seconds: dict[str, list[float]] = {"text": [], "image": []}

    def ask(client: int, count: int) -> None:
        for i in range(count):
            query = {"image": sent} if i % 4 == 0 else {"text": f"query {client} {i}"}
            started = time.perf_counter()
            requests.post(f"{url}/knn-service", json={**query, "num_images": 10}, timeout=60).raise_for_status()
            seconds["text" if i % 4 else "image"].append(time.perf_counter() - started)

    ask(CLIENTS, 8)  # warm
    for values in seconds.values():
        values.clear()
    threads = [threading.Thread(target=ask, args=(client, REQUESTS)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    print("| policy | text: median | p95 | image: median | p95 |\n| --- | --- | --- | --- | --- |")
    for policy in ("ACTIVE", "PASSIVE") * args.rounds:
        os.environ["OMP_WAIT_POLICY"] = policy
        with (
            tempfile.TemporaryDirectory() as folder,
            computing(args.busy),
            running(str(Path(__file__).with_name("attack.py")), "serve", log=Path(folder) / "log") as (url, _),
        ):
            times = measure(url)
        cells = [f"{statistics.median(t):.2f} s | {statistics.quantiles(t, n=20)[-1]:.2f} s" for t in times.values()]
        print(f"| {policy} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
