"""Collections for the tests of bulk jobs, and what such jobs leave."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from support import unit_rows

CLIP_DIM = 64
GENERATION = {"num_captions": 1, "num_beams": 1, "max_new_tokens": 6, "temperature": 0.0, "top_p": 1.0}


def npy_collection(folder: Path, counts: list[int], with_metadata: bool = True) -> np.ndarray:
    """A folder as clip-retrieval inference writes it, and its embeddings."""
    embeddings = unit_rows(sum(counts), seed=3)
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    start = 0
    for number, count in enumerate(counts):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", embeddings[start : start + count].astype(np.float16))
        if with_metadata:
            rows = pd.DataFrame({"url": [f"http://example.org/{i}" for i in range(start, start + count)]})
            rows.to_parquet(folder / "metadata" / f"metadata_{number}.parquet", row_group_size=5)
        start += count
    return embeddings.astype(np.float16)


def some_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of many lengths, no two alike."""
    random = np.random.default_rng(seed)
    return [f"text {row} " + "x" * int(random.integers(0, 60)) for row in range(count)]


def write_lines(path: str, texts: list[str]) -> None:
    Path(path).write_text("\n".join(texts) + "\n", encoding="utf-8")


def output(folder: str) -> tuple[np.ndarray | None, pa.Table]:
    """All embeddings and all metadata of an output folder, in the order of its files' names."""
    fs, root = fsspec.core.url_to_fs(folder)
    arrays = []
    for file in sorted(fs.glob(f"{root}/img_emb/*.npy")):
        with fs.open(file, "rb") as opened:
            arrays.append(np.load(opened))
    tables = []
    for file in sorted(fs.glob(f"{root}/metadata/*.parquet")):
        with fs.open(file, "rb") as opened:
            tables.append(pq.read_table(opened))
    return np.concatenate(arrays) if arrays else None, pa.concat_tables(tables)


def contents(folder: str) -> dict[str, bytes]:
    """The bytes of every result file, by name."""
    files = [*Path(folder).glob("img_emb/*"), *Path(folder).glob("metadata/*")]
    return {file.name: file.read_bytes() for file in files}


def report(folder: str) -> dict:
    return json.loads((Path(folder) / "report.json").read_text())
