"""An embeddings folder into a Milvus collection: new, restarted where it stopped, or by a key in place of old items."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from clipgpt_retrieval.bulk.distributor import spark_context
from clipgpt_retrieval.errors import ClipGptError, DataError, InputError
from clipgpt_retrieval.index.milvus_client import Milvus
from clipgpt_retrieval.index.milvus_state import (
    LoadedFile,
    change_revision,
    create_state,
    read_files,
    state_collection,
    write_files,
)
from clipgpt_retrieval.ingest.milvus_writer import (
    MilvusWriter,
    Target,
    check_key,
    create_collection,
    existing_fields,
)
from clipgpt_retrieval.ingest.options import LoadOptions
from clipgpt_retrieval.ingest.source import Source, SourceFile, read_batches
from clipgpt_retrieval.storage import cache_folder

CHECKPOINT_ROWS = 20_000
"""Rows between two records of how far a file is loaded; a restart writes at most as many again."""

POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Loaded:
    """What `load_folder` did.

    Attributes:
        rows: that were written.
        unusable: of the folder, left out since their embedding is.
        skipped: files that were loaded before.
        missing_columns: columns of the metadata that the collection lacks.
    """

    rows: int
    unusable: int
    skipped: int
    missing_columns: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """A file that is to be loaded.

    Attributes:
        source: the file.
        record: how far it is.
    """

    source: SourceFile
    record: LoadedFile


def load_folder(options: LoadOptions) -> Loaded:
    """Loads the rows of an embeddings folder that are not in the collection yet.

    Raises:
        DataError: the folder or Milvus cannot be read, or they do not fit each other.
        InputError: an invalid flag.
    """
    index = _index(options)
    source = Source(options.embeddings_folder)
    collection = options.collection
    with one_writer(options.milvus_uri, collection):
        milvus = Milvus(options.milvus_uri, loaded=(collection, state_collection(collection)))
        fields, missing = milvus.call(lambda client: _open(client, options, source, index))
        target = Target(options.milvus_uri, collection, tuple(fields), check_key(options.key, fields))
        tasks = [_Task(file, record) for file, record in _records(milvus, collection, source)]
        waiting = [task for task in tasks if task.record.done < task.record.count]
        if waiting:
            _distribute(options, target, milvus, waiting, sum(file.count for file in source.files))
            milvus.call(lambda client: client.flush(collection))
        now = milvus.call(lambda client: read_files(client, collection))
        ended = [now[task.source.fingerprint] for task in tasks]
        rows = sum(record.done - record.unusable for record in ended) - sum(
            task.record.done - task.record.unusable for task in tasks
        )
        return Loaded(rows, sum(record.unusable for record in ended), len(tasks) - len(waiting), tuple(missing))


@contextmanager
def one_writer(uri: str, collection: str) -> Iterator[None]:
    """Keeps other `load` and `delete` commands of this machine out of a collection.

    Raises:
        DataError: one is running.
    """
    folder = cache_folder() / "milvus"
    folder.mkdir(parents=True, exist_ok=True)
    name = sha256(f"{uri}\0{collection}".encode()).hexdigest()[:20]
    try:
        with FileLock(folder / f"{name}.lock", blocking=False):
            yield
    except Timeout:
        raise DataError(f"collection {collection} is being changed by another command: wait for that to end") from None


def _index(options: LoadOptions) -> dict[str, Any]:
    from clipgpt_retrieval.storage import is_url

    try:
        params = json.loads(options.index_params)
    except ValueError as error:
        raise InputError("index_params", f"is not JSON: {error}") from error
    if not isinstance(params, dict):
        raise InputError("index_params", 'must be an object such as {"nlist": 65536}')
    if options.distribution_strategy == "pyspark" and not is_url(options.milvus_uri):
        raise InputError("distribution_strategy", "pyspark needs a Milvus server, as Milvus Lite takes one writer")
    # Milvus Lite's approximate index, HNSW, finds a few thousand items at most.
    return {
        "index_type": options.index_type or ("AUTOINDEX" if is_url(options.milvus_uri) else "FLAT"),
        "params": params,
    }


def _open(client: Any, options: LoadOptions, source: Source, index: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Creates what does not exist yet; the fields to write, and columns that an existing collection lacks."""
    schema, [dimension] = source.schema(), source.dimensions
    exists = client.has_collection(options.collection)
    if exists and not client.has_collection(state_collection(options.collection)):
        raise DataError(f"collection {options.collection} was not made by clipgpt-retrieval load: give another name")
    create_state(client, options.collection)
    if exists:  # checked before anything is created in it
        existing_fields(client, options.collection, dimension, schema)
    create_collection(client, options.collection, dimension, schema, options.key, index)
    return existing_fields(client, options.collection, dimension, schema)


def _records(milvus: Milvus, collection: str, source: Source) -> list[tuple[SourceFile, LoadedFile]]:
    """Each file with its record; new ones take the next ids."""
    known = milvus.call(lambda client: read_files(client, collection))
    next_id = max((record.first_id + record.count for record in known.values()), default=0)
    new = []
    for file in source.files:
        if file.fingerprint not in known:
            known[file.fingerprint] = LoadedFile(file.fingerprint, file.name, next_id, file.count)
            new.append(known[file.fingerprint])
            next_id += file.count
    if new:
        milvus.call(lambda client: write_files(client, collection, new))
    return [(file, known[file.fingerprint]) for file in source.files]


def _distribute(options: LoadOptions, target: Target, milvus: Milvus, waiting: list[_Task], total: int) -> None:
    before = total - sum(task.record.count - task.record.done for task in waiting)
    with tqdm(total=total, initial=before, desc="load", unit="row", unit_scale=True) as bar:
        if options.distribution_strategy == "pyspark":
            _on_spark(options, target, milvus, waiting, bar)
            return
        for task in waiting:
            load_file(target, milvus, task, options.batch_size, options.embeddings_folder, bar.update)


def load_file(
    target: Target,
    milvus: Milvus,
    task: _Task,
    batch_size: int,
    folder: str,
    progress: Callable[[int], Any],
) -> None:
    """Loads the rest of a file, and records from time to time how far it is."""
    writer, file, record = MilvusWriter(target, milvus), task.source, task.record
    written = 0
    for batch in read_batches(folder, file, batch_size, record.done):
        writer.write(batch, record.first_id, file.name)
        unusable = record.unusable + batch.count - len(batch.rows)
        record = replace(record, done=record.done + batch.count, unusable=unusable)
        written += batch.count
        if written >= CHECKPOINT_ROWS or record.done == record.count:
            written = 0
            _record(milvus, target.collection, record)
        progress(batch.count)


def _record(milvus: Milvus, collection: str, record: LoadedFile) -> None:
    if milvus.is_lite:  # it searches rows that are not flushed slowly
        milvus.call(lambda client: client.flush(collection))
    milvus.call(lambda client: write_files(client, collection, [record]))
    milvus.call(lambda client: change_revision(client, collection))


def _on_spark(options: LoadOptions, target: Target, milvus: Milvus, waiting: list[_Task], bar: Any) -> None:
    """A task of Spark for each file; the bar follows what they record."""
    context = spark_context()
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(POLL_SECONDS):
            with suppress(ClipGptError):
                bar.update(_done(milvus, target.collection, waiting) - bar.n)

    following = threading.Thread(target=follow, daemon=True)
    following.start()
    try:
        work = partial(_spark_task, target, options.batch_size, options.embeddings_folder)
        context.parallelize(waiting, len(waiting)).foreach(work)
    finally:
        ended.set()
        following.join()
    bar.update(bar.total - bar.n)


def _spark_task(target: Target, batch_size: int, folder: str, task: _Task) -> None:
    milvus = Milvus(target.uri)
    # Spark repeats a failed task: what that has recorded is done.
    known = milvus.call(lambda client: read_files(client, target.collection))
    task = replace(task, record=known[task.source.fingerprint])
    load_file(target, milvus, task, batch_size, folder, lambda rows: None)


def _done(milvus: Milvus, collection: str, waiting: list[_Task]) -> int:
    """Rows that are loaded, with those before this run."""
    known = milvus.call(lambda client: read_files(client, collection))
    return sum(known[task.source.fingerprint].done for task in waiting)
