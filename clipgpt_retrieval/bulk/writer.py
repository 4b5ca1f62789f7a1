"""Writers: the output files of a shard, named as by clip-retrieval inference, each complete or absent."""

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from clipgpt_retrieval.bulk.job import ENCODE, Job
from clipgpt_retrieval.bulk.mapper import Mapped
from clipgpt_retrieval.bulk.reader import list_files
from clipgpt_retrieval.bulk.retry import retried
from clipgpt_retrieval.storage import CHUNK_BYTES, new_file, write_text

EMBEDDINGS = "img_emb"
METADATA = "metadata"
CHECKSUMS = "checksums"
STATS = "stats"

PARALLEL_FILES = 16
"""Files that are read side by side when a job is planned."""


class ShardWriter:
    """Collects the rows of a shard and writes its files.

    ``img_emb/img_emb_{name}.npy`` is written first, if there are embeddings, then ``checksums/checksums_{name}.json``
    with the sha256 of both files, then ``metadata/metadata_{name}.parquet``, whose presence marks the shard as done.

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
        checksums = {}
        embeddings = [mapped.embeddings for mapped in self._mapped if mapped.embeddings is not None]
        if embeddings:
            with new_file(_file(self._folder, EMBEDDINGS, self._name)) as file:
                hashing = _HashingFile(file)
                np.save(hashing, np.concatenate(embeddings), allow_pickle=False)
            checksums[EMBEDDINGS] = hashing.digest.hexdigest()
        table = io.BytesIO()
        pq.write_table(pa.concat_tables([mapped.table for mapped in self._mapped]), table)
        checksums[METADATA] = hashlib.sha256(table.getbuffer()).hexdigest()
        write_text(_file(self._folder, CHECKSUMS, self._name), json.dumps(checksums))
        with new_file(_file(self._folder, METADATA, self._name)) as file:
            file.write(table.getbuffer())


class _HashingFile:
    """Writes to a file and computes the sha256 of what is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Writes and hashes."""
        self.digest.update(content)
        return self._file.write(content)


def _file(folder: str, part: str, name: str) -> str:
    """The path or URL of one of a shard's files."""
    suffix = {EMBEDDINGS: "npy", METADATA: "parquet", CHECKSUMS: "json"}[part]
    return f"{folder}/{part}/{part}_{name}.{suffix}"


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
    return (*_data_parts(job), CHECKSUMS, STATS)


def _data_parts(job: Job) -> list[str]:
    return [EMBEDDINGS, METADATA] if job.task == ENCODE else [METADATA]


def done_shards(fs: Any, root: str) -> set[str]:
    """The names of the shards whose files are complete."""
    opening, end = f"{METADATA}_", ".parquet"
    names = (file.rsplit("/", 1)[-1] for file in list_files(fs, f"{root}/{METADATA}"))
    return {name[len(opening) : -len(end)] for name in names if name.startswith(opening) and name.endswith(end)}


def remove_damaged_shards(job: Job, names: set[str]) -> set[str]:
    """Removes the metadata of done shards whose files differ from their checksums, so that they are missing.

    Returns:
        The names of these shards.
    """
    fs, root = fsspec.core.url_to_fs(job.output_folder)
    ordered = sorted(names)
    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        results = pool.map(lambda name: retried(lambda: _is_whole(job, fs, root, name), job.retries), ordered)
        bar = tqdm(results, total=len(ordered), unit="shard", desc="check", disable=None, delay=2, leave=False)
        damaged = {name for name, is_whole in zip(ordered, bar, strict=True) if not is_whole}
    for name in damaged:
        with suppress(FileNotFoundError):
            fs.rm_file(_file(root, METADATA, name))
    return damaged


def _is_whole(job: Job, fs: Any, root: str, name: str) -> bool:
    try:
        recorded = json.loads(fs.cat_file(_file(root, CHECKSUMS, name)))
        return recorded == {part: _sha256(fs, _file(root, part, name)) for part in _data_parts(job)}
    except (FileNotFoundError, ValueError):
        return False


def _sha256(fs: Any, file: str) -> str:
    digest = hashlib.sha256()
    with fs.open(file, "rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def is_done(output_folder: str, name: str) -> bool:
    """Whether a shard's files are complete."""
    fs, root = fsspec.core.url_to_fs(output_folder)
    return fs.exists(_file(root, METADATA, name))
