"""Writers: the output files of a shard, named as by clip-retrieval inference, each complete or absent."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipgpt_retrieval.bulk.job import ENCODE, Job
from clipgpt_retrieval.bulk.mapper import Mapped
from clipgpt_retrieval.bulk.reader import list_files
from clipgpt_retrieval.bulk.retry import retried
from clipgpt_retrieval.data.npy_file import read_npy_header
from clipgpt_retrieval.data.parquet_file import row_count
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.storage import new_file

EMBEDDINGS = "img_emb"
METADATA = "metadata"
STATS = "stats"

PARALLEL_FILES = 16
"""Files that are read side by side when a job is planned."""


class ShardWriter:
    """Collects the rows of a shard and writes its files.

    ``img_emb/img_emb_{name}.npy`` is written first, if there are embeddings, then ``metadata/metadata_{name}.parquet``,
    whose presence marks the shard as done.

    Args:
        output_folder: path or fsspec URL.
        name: of the shard.
    """

    def __init__(self, output_folder: str, name: str) -> None:
        self._folder = output_folder
        self._name = name
        self._mapped: list[Mapped] = []

    def __call__(self, mapped: Mapped) -> None:
        self._mapped.append(mapped)

    def flush(self) -> None:
        """Writes the files."""
        tables = [mapped.table for mapped in self._mapped]
        embeddings = [mapped.embeddings for mapped in self._mapped if mapped.embeddings is not None]
        if embeddings:
            with new_file(self._url(EMBEDDINGS, "npy")) as file:
                np.save(file, np.concatenate(embeddings), allow_pickle=False)
        with new_file(self._url(METADATA, "parquet")) as file:
            pq.write_table(pa.concat_tables(tables), file)

    def _url(self, part: str, suffix: str) -> str:
        return f"{self._folder}/{part}/{part}_{self._name}.{suffix}"


def prepare(job: Job) -> None:
    """Creates the folders of a job's output, and removes partial files of interrupted workers."""
    fs, root = fsspec.core.url_to_fs(job.output_folder)
    for part in _parts(job):
        fs.makedirs(f"{root}/{part}", exist_ok=True)
    remove_partial_files(job)


def remove_partial_files(job: Job) -> None:
    """Removes partial files of killed workers from a job's output, while none is running."""
    fs, root = fsspec.core.url_to_fs(job.output_folder)
    for part in _parts(job):
        for file in list_files(fs, f"{root}/{part}"):
            if file.endswith(".part"):
                with suppress(FileNotFoundError):  # its worker is alive and has just renamed it
                    fs.rm(file)


def _parts(job: Job) -> tuple[str, ...]:
    return (*([EMBEDDINGS] if job.task == ENCODE else []), METADATA, STATS)


def done_shards(fs: Any, root: str) -> set[str]:
    """The names of the shards whose files are complete."""
    opening, end = f"{METADATA}_", ".parquet"
    names = (file.rsplit("/", 1)[-1] for file in list_files(fs, f"{root}/{METADATA}"))
    return {name[len(opening) : -len(end)] for name in names if name.startswith(opening) and name.endswith(end)}


def remove_damaged_shards(job: Job, names: set[str]) -> set[str]:
    """Removes the metadata of done shards whose files are emptied, truncated or missing, so that they are missing.

    Returns:
        The names of these shards.
    """
    fs, root = fsspec.core.url_to_fs(job.output_folder)
    ordered = sorted(names)
    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        whole = pool.map(lambda name: retried(lambda: _is_whole(job, fs, root, name), job.retries), ordered)
        damaged = {name for name, is_whole in zip(ordered, whole, strict=True) if not is_whole}
    for name in damaged:
        with suppress(FileNotFoundError):
            fs.rm_file(f"{root}/{METADATA}/{METADATA}_{name}.parquet")
    return damaged


def _is_whole(job: Job, fs: Any, root: str, name: str) -> bool:
    try:
        rows = row_count(fs, f"{root}/{METADATA}/{METADATA}_{name}.parquet")
        if job.task != ENCODE:
            return True
        file = f"{root}/{EMBEDDINGS}/{EMBEDDINGS}_{name}.npy"
        with fs.open(file, "rb") as opened:
            header = read_npy_header(opened, file)
        return header.count == rows and header.end == fs.info(file)["size"]
    except (DataError, FileNotFoundError):
        return False


def is_done(output_folder: str, name: str) -> bool:
    """Whether a shard's files are complete."""
    fs, root = fsspec.core.url_to_fs(output_folder)
    return fs.exists(f"{root}/{METADATA}/{METADATA}_{name}.parquet")
