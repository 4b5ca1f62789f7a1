"""What filters, thousands of results and several queries at once cost: `filtered_search.py FOLDER [--rows 1000000]`.

Builds a collection of generated rows of 64 dimensions with three columns in FOLDER, unless it is there: an IVF + PQ
index, which is memory-mapped. Then it prints

* the time of a query to this index, and to an exact one in memory, with filters that keep 50 %, 1 % and 0.01 % of the
  rows, beside the same query without one, in turns; the time of the first query with a filter, which evaluates it over
  the metadata; and the share of the nearest 10 among the kept rows that are found, with and without filters;
* the time of a request for 10,000 results with their metadata, beside one for 10,000 ids;
* the time of 64 queries in one request and in 64 requests: of embeddings here, and of texts to the demo;
* the memory of the process.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _memory import current_megabytes

DIM = 64
ROWS_AT_ONCE = 250_000
TRAINED_ON = 100_000
CLOCK = time.perf_counter
QUERIES = 64
MAX_FLAT = 2 * 10**6
"""Rows up to which the exact index is built, too, for which it needs 256 bytes of memory each."""

FILTERS = {
    "50 %": [{"field": "rank", "op": "<", "value": 5_000}],
    "1 %": [{"field": "rank", "op": "in", "value": list(range(0, 10_000, 100))}],
    "0.01 %": [{"field": "rank", "op": "=", "value": 7}],
}
"""Of ranks from 0 to 9,999, each equally frequent."""


def vectors(start: int, count: int) -> np.ndarray:
    """Rows of a mixture of clusters, float32 ``[count, DIM]``, unit norm; the same for the same start."""
    centres = np.random.default_rng(0).normal(size=(2_000, DIM)).astype(np.float32)
    random = np.random.default_rng([1, start])
    rows = centres[random.integers(len(centres), size=count)]
    rows += random.normal(scale=0.8, size=(count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def columns(start: int, count: int) -> pa.Table:
    random = np.random.default_rng([2, start])
    return pa.table(
        {
            "caption": [f"item {i} of a generated collection" for i in range(start, start + count)],
            "rank": random.integers(10_000, size=count),
            "score": random.random(count),
        }
    )


def build(folder: Path, rows: int, lists: int) -> None:
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    index = faiss.index_factory(DIM, f"IVF{lists},PQ32", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors(rows, TRAINED_ON))
    index.nprobe = 16
    for start in range(0, rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows - start)
        index.add(vectors(start, count))
        pq.write_table(columns(start, count), folder / "metadata" / f"metadata_{start // ROWS_AT_ONCE:04}.parquet")
        print(f"\rbuilt {start + count:,} rows", end="", flush=True)
    print()
    faiss.write_index(index, str(folder / "image.index"))


def nearest(queries: np.ndarray, rows: int, kept: np.ndarray) -> np.ndarray:
    """The 10 nearest of the kept rows by exact search, ``[q, 10]``."""
    heap = faiss.ResultHeap(len(queries), 10, keep_max=True)
    for start in range(0, rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows - start)
        local = np.flatnonzero(kept[start : start + count])
        near, ids = faiss.knn(queries, vectors(start, count)[local], min(10, len(local)), faiss.METRIC_INNER_PRODUCT)
        heap.add_result(near, start + local[ids])
    heap.finalize()
    return heap.I


def report(name: str, times: list[float], baseline: list[float] | None = None, more: str = "") -> None:
    p50, p95 = statistics.median(times), float(np.quantile(times, 0.95))
    ratio = "" if baseline is None else f", {p50 / statistics.median(baseline):.2f} times unfiltered"
    print(f"{name:>11}: p50 {p50 * 1000:8.2f} ms, p95 {p95 * 1000:8.2f} ms{ratio}{more}")


def timed(call: Callable[[], object]) -> float:
    started = CLOCK()
    call()
    return CLOCK() - started


def flat_collection(folder: Path, rows: int) -> Any:
    """The same items in an exact index, in memory."""
    from clipgpt_retrieval.index.faiss_collection import FaissCollection
    from clipgpt_retrieval.index.metadata_columns import ParquetColumns

    index = faiss.IndexFlatIP(DIM)
    for start in range(0, rows, ROWS_AT_ONCE):
        index.add(vectors(start, min(ROWS_AT_ONCE, rows - start)))
    return FaissCollection(index, columns=ParquetColumns(parquet(folder)))


def filtered(kind: str, collection: Any, folder: Path, rows: int, rounds: int) -> None:
    from clipgpt_retrieval.index.filters import parse_filter

    queries = vectors(rows + TRAINED_ON, QUERIES)
    ranks = np.concatenate([pq.read_table(file, columns=["rank"])["rank"].to_numpy() for file in parquet(folder)])
    filters = {"unfiltered": (), **{name: parse_filter(one, collection.fields()) for name, one in FILTERS.items()}}
    kept = {
        "unfiltered": np.ones(rows, bool),
        "50 %": ranks < 5_000,
        "1 %": ranks % 100 == 0,
        "0.01 %": ranks == 7,
    }
    first = {name: timed(lambda one=one: collection.search(queries[:1], 10, one)) for name, one in filters.items()}
    times: dict[str, list[float]] = {name: [] for name in filters}
    for i in range(rounds):
        for name, one in filters.items():
            query = queries[i % QUERIES][None]
            times[name].append(timed(lambda query=query, one=one: collection.search(query, 10, one)))
    print(f"a query of {rows:,} rows, {kind}, {current_megabytes():,.0f} MB")
    for name, one in filters.items():
        _, ids = collection.search(queries, 10, one)
        truth = nearest(queries, rows, kept[name])
        recall = np.mean([np.isin(t, found).mean() for t, found in zip(truth, ids, strict=True)])
        more = f", first {first[name] * 1000:.0f} ms, recall@10 {recall:.3f}"
        report(name, times[name], None if name == "unfiltered" else times["unfiltered"], more)


def parquet(folder: Path) -> list[Path]:
    return sorted((folder / "metadata").glob("*.parquet"))


def requests_of(folder: Path, rounds: int) -> None:
    import clipgpt_retrieval as cg
    from clipgpt_retrieval.back import create_app

    paths = folder / "indices_paths.json"
    demo = {"indice_folder": str(cg.demo.path() / "index"), "clipgpt_model": "demo"}
    ours = {"indice_folder": str(folder), "columns_to_return": ["caption", "rank", "score"]}
    paths.write_text(json.dumps({"ours": ours, "demo": demo}))
    offline = {"enable_mclip_option": False, "provide_aesthetic_embeddings": False, "load_clip": False}
    http = create_app(indices_paths=str(paths), enable_faiss_memory_mapping=True, cache_mb=0, **offline).test_client()

    def post(**fields: object) -> object:
        response = http.post("/knn-service", json={"indice_name": "ours", **fields})
        assert response.status_code == 200, response.json
        return response.json

    queries = vectors(10**9, QUERIES).round(6).tolist()
    ids_only, with_metadata = [], []
    for i in range(rounds):
        shared = {"embedding_input": queries[i % QUERIES], "num_result_ids": 10_000}
        ids_only.append(timed(lambda shared=shared: post(**shared, num_images=1)))
        with_metadata.append(timed(lambda shared=shared: post(**shared, num_images=10_000)))
    print("10,000 results")
    report("ids", ids_only)
    report("metadata", with_metadata)
    texts = [f"a {colour} {thing}" for colour in ("red", "blue", "old", "big") for thing in "abcdefghijklmnop"]
    several(post, "embeddings", [{"embedding_input": query} for query in queries], {}, rounds)
    several(post, "texts", [{"text": text} for text in texts], {"indice_name": "demo", "num_images": 10}, rounds)


def several(post: Callable, name: str, queries: list[dict], shared: dict, rounds: int) -> None:
    one_by_one, at_once = [], []
    for _ in range(max(3, rounds // 10)):
        one_by_one.append(timed(lambda: [post(**query, **shared) for query in queries]))
        at_once.append(timed(lambda: post(queries=queries, **shared)))
    ratio = statistics.median(one_by_one) / statistics.median(at_once)
    print(f"{len(queries)} {name}: {ratio:.1f} times faster in one request")
    report("one by one", one_by_one)
    report("at once", at_once)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--lists", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--cpu_time", action="store_true", help="CPU time, for a machine under other load")
    args = parser.parse_args()
    CLOCK = time.process_time if args.cpu_time else time.perf_counter
    if not (args.folder / "image.index").exists():
        build(args.folder, args.rows, args.lists)
    from clipgpt_retrieval.index.source import open_index

    filtered("IVF + PQ", open_index(str(args.folder)).items, args.folder, args.rows, args.rounds)
    if args.rows <= MAX_FLAT:
        filtered("flat", flat_collection(args.folder, args.rows), args.folder, args.rows, args.rounds)
    requests_of(args.folder, args.rounds)
    print(f"memory: {current_megabytes():,.0f} MB")
