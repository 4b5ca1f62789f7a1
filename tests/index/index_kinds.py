"""A collection with metadata of every type, built in each kind of index."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.source import open_index

COUNT, DIM = 3000, 32

# Small k-means on several threads spend minutes waiting for each other where the machine is busy.
faiss.omp_set_num_threads(1)

FAISS_KINDS = {
    "flat": "Flat",
    "IVF": "IVF32,Flat",
    "IVF+PQ": "IVF32,PQ16x4",
    "HNSW": "HNSW16",
    "OPQ": "OPQ16,IVF32,PQ16x4",
    "PQ": "PQ16x4",
    "refined": "PQ16x4,RFlat",
    "IDMap2": "IDMap2,Flat",
}
EXACT = {"flat", "IDMap2", "Milvus Lite"}
"""Kinds that find all nearest neighbours, with the similarities of the embeddings themselves."""

NPROBE = 8


def embeddings() -> np.ndarray:
    """Embeddings with clusters of different sizes, float32 ``[COUNT, DIM]``, unit norm."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, DIM))
    rows = centres[rng.zipf(1.5, size=COUNT) % 40] + 0.7 * rng.normal(size=(COUNT, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def metadata() -> dict[str, list[Any]]:
    """Columns of every type, with missing values, unicode, and integers beyond the precision of floats."""
    words = ["a dog", "une forêt", "猫と犬", 'O\'Brien "quoted"', "100% \\ _x_", None, ""]
    return {
        "rank": list(range(COUNT)),
        "width": [None if i % 7 == 3 else 100 + i % 500 for i in range(COUNT)],
        "huge": [2**53 + i % 2 if i % 3 else 2**63 - 1 - i % 2 for i in range(COUNT)],
        "score": [float("nan") if i % 11 == 5 else None if i % 13 == 7 else (i % 100) / 10 for i in range(COUNT)],
        "caption": [words[i % len(words)] for i in range(COUNT)],
        "safe": [None if i % 5 == 4 else i % 2 == 0 for i in range(COUNT)],
        "taken": [None if i % 9 == 8 else datetime(2020, 1, 1) + timedelta(hours=i) for i in range(COUNT)],
        "tags": [None if i % 10 == 9 else [["red", "blue"][i % 2], f"tag {i % 17}"] for i in range(COUNT)],
    }


def table() -> pa.Table:
    """`metadata` as arrow; the types are those that pandas writes."""
    types = {"width": pa.int64(), "huge": pa.int64(), "score": pa.float64(), "taken": pa.timestamp("us")}
    return pa.table({name: pa.array(values, types.get(name)) for name, values in metadata().items()})


def build_faiss(kind: str, folder: Path, rows: np.ndarray, columns: pa.Table) -> Collection:
    """A faiss index of a kind with parquet files of different sizes beside it, opened as commands open it."""
    index: Any = faiss.index_factory(DIM, FAISS_KINDS[kind], faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add_with_ids(rows, np.arange(len(rows))) if kind == "IDMap2" else index.add(rows)
    if "IVF" in FAISS_KINDS[kind]:
        faiss.extract_index_ivf(index).nprobe = NPROBE
    (folder / "metadata").mkdir(parents=True)
    faiss.write_index(index, str(folder / "image.index"))
    first = COUNT // 3
    pq.write_table(columns.slice(0, first), folder / "metadata" / "metadata_0.parquet", row_group_size=500)
    pq.write_table(columns.slice(first), folder / "metadata" / "metadata_1.parquet")
    return open_index(str(folder)).items


def build_milvus(kind: str, folder: Path, rows: np.ndarray, columns: pa.Table) -> Collection:
    """A collection of Milvus Lite, loaded as the command loads it."""
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    pytest.importorskip("milvus_lite", reason="the extra milvus is not installed")
    from clipgpt_retrieval.index.milvus import MilvusCollection
    from clipgpt_retrieval.ingest.load import load_folder
    from clipgpt_retrieval.ingest.options import LoadOptions

    first = COUNT // 3
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for part, chosen in enumerate((slice(0, first), slice(first, None))):
        np.save(folder / "img_emb" / f"img_emb_{part}.npy", rows[chosen])
        part_of_columns = columns.slice(0, first) if part == 0 else columns.slice(first)
        pq.write_table(part_of_columns, folder / "metadata" / f"metadata_{part}.parquet")
    uri = str(folder / "collection.db")
    load_folder(LoadOptions(str(folder), uri, "kinds"))
    return MilvusCollection(uri, "kinds")


BUILDERS: dict[str, Callable[[str, Path, np.ndarray, pa.Table], Collection]] = {
    **dict.fromkeys(FAISS_KINDS, build_faiss),
    "Milvus Lite": build_milvus,
}
"""Each kind of index with the function that builds it, called with the kind, a folder that does not exist, the
embeddings and the metadata."""
