"""/knn-service with 32 concurrent clients: ours against the stock back end with ViT-L/14's text tower.

Both serve 10,000 items with random weights of the real shapes, each in its own process and one at a time; first with
distinct texts, then with texts drawn by Zipf's law. Prints both latency tables and the ratios of throughput and p95.
"""

import argparse
import statistics
import tempfile

from _back_ends import prepared, running_back_end

from clipgpt_retrieval.bench.load import Latencies, measure
from clipgpt_retrieval.bench.options import BenchOptions
from clipgpt_retrieval.bench.texts import endless_texts

WARM_UP_SECONDS = 8
KINDS = ("stock", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    measured: dict[tuple[str, float], list[Latencies]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = prepared(name)
        for round_number in range(asked.rounds):
            for kind in KINDS:
                with running_back_end(kind, folder) as url:
                    load = BenchOptions(url, concurrency=asked.concurrency, seconds=asked.seconds, indice_name="demo")
                    measure(BenchOptions(url, concurrency=2, seconds=WARM_UP_SECONDS), endless_texts(None, 0, seed=99))
                    for zipf in (0.0, 1.0):
                        found = measure(load, endless_texts(None, zipf, seed=round_number))
                        measured.setdefault((kind, zipf), []).append(found)
                        print(f"-- {kind}, {'Zipf' if zipf else 'distinct'}\n{found.table()}", flush=True)
    for zipf in (0.0, 1.0):
        stock, ours = measured["stock", zipf], measured["ours", zipf]
        faster = statistics.median(b.throughput / a.throughput for a, b in zip(stock, ours, strict=True))
        waits = statistics.median(b.percentiles[0.95] / a.percentiles[0.95] for a, b in zip(stock, ours, strict=True))
        print(f"{'Zipf' if zipf else 'distinct'} texts: throughput ratio {faster:.1f}, p95 ratio {waits:.3f}")


if __name__ == "__main__":
    main()
