"""Items that a filter keeps, deleted from a faiss index folder or from a Milvus collection."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.index.conditions import matching_rows
from clipgpt_retrieval.index.filters import parse_filter
from clipgpt_retrieval.index.folder_change import FolderChange, changed_folder
from clipgpt_retrieval.index.metadata_columns import ParquetColumns, fields_of
from clipgpt_retrieval.index.milvus import MilvusCollection
from clipgpt_retrieval.index.milvus_client import Milvus
from clipgpt_retrieval.index.milvus_state import change_revision, create_state, state_collection
from clipgpt_retrieval.ingest.add import INDEX_FILES, changeable_metadata, forget_derived, write_index
from clipgpt_retrieval.ingest.load import one_writer
from clipgpt_retrieval.ingest.options import DeleteOptions


def read_filter(text: str) -> list[Mapping[str, Any]]:
    """The conditions of a filter on the command line: a JSON list, or a single condition.

    Raises:
        InputError: not JSON, or no condition, which would delete every item.
    """
    try:
        conditions = json.loads(text)
    except ValueError as error:
        raise InputError("filter", f"is not JSON: {error}") from error
    conditions = [conditions] if isinstance(conditions, dict) else conditions
    if not isinstance(conditions, list) or not conditions:
        raise InputError("filter", 'must be a list of conditions such as [{"field": "NSFW", "op": "=", "value": "X"}]')
    return conditions


def delete_from_milvus(uri: str, collection: str, conditions: list[Mapping[str, Any]]) -> int:
    """Deletes the items that a filter keeps; their ids are not used again.

    Returns:
        Their number.

    Raises:
        DataError: Milvus cannot be reached, or has no such collection.
        InputError: an invalid filter.
    """
    items = MilvusCollection(uri, collection)
    filter = parse_filter(conditions, items.fields())
    with one_writer(uri, collection):
        count = items.count(filter)
        if count:
            items.delete(filter)
            milvus = Milvus(uri, loaded=(state_collection(collection),))
            milvus.call(lambda client: create_state(client, collection))
            milvus.call(lambda client: change_revision(client, collection))
    return count


def delete_from_index(folder: Path, conditions: list[Mapping[str, Any]]) -> int:
    """Deletes the items that a filter keeps from an index folder; the others are numbered again, in their order.

    Returns:
        Their number.

    Raises:
        DataError: the folder cannot be read or changed, or its index cannot delete.
        InputError: an invalid filter.
    """
    names = [name for name in INDEX_FILES if (folder / name).exists()]
    if not names:
        raise DataError(f"{folder} has neither image.index nor text.index: give a folder of clip-retrieval index")
    with changed_folder(folder) as change:
        metadata = changeable_metadata(folder)
        columns = ParquetColumns(metadata.parquet)
        filter = parse_filter(conditions, fields_of(columns.schema))
        indexes = {name: _read_index(folder / name) for name in names}
        count = _common_count(folder, indexes, metadata.num_rows)
        deleted = matching_rows(columns, filter, count)
        if not deleted.any():
            return 0
        if deleted.all():
            raise DataError(f"the filter keeps all {count} items of {folder}: remove the folder instead")
        for name, index in indexes.items():
            _delete_rows(index, deleted, folder / name)
            write_index(index, change.replace(name))
        _delete_metadata(change, metadata.parquet, folder, deleted)
        forget_derived(change, folder)
    return int(deleted.sum())


def _read_index(file: Path) -> Any:
    try:
        return faiss.read_index(str(file))
    except RuntimeError as error:
        raise DataError(f"{file} cannot be read as a faiss index: build it again") from error


def _common_count(folder: Path, indexes: Mapping[str, Any], rows: int | None) -> int:
    counts = {index.ntotal for index in indexes.values()}
    if counts != {rows}:
        raise DataError(f"{folder} has {max(counts)} items and {rows} rows of metadata: build the index again")
    return int(max(counts))


def _delete_rows(index: Any, deleted: np.ndarray, file: Path) -> None:
    """Deletes items from an index and numbers the others from 0 on.

    Raises:
        DataError: an index of a kind that cannot delete.
    """
    kept_before = np.cumsum(~deleted) - 1  # the new id of each kept row
    try:
        index.remove_ids(np.flatnonzero(deleted).astype(np.int64))
    except RuntimeError as error:
        raise DataError(
            f"{file}: an index of type {type(index).__name__} cannot delete items: build it again"
        ) from error
    inner: Any = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    if isinstance(inner, faiss.IndexIDMap):
        ids = kept_before[faiss.vector_to_array(inner.id_map)]
        faiss.copy_array_to_vector(ids.astype(np.int64), inner.id_map)
    elif isinstance(inner, faiss.IndexIVF):
        lists: Any = inner.invlists
        for list_no in range(inner.nlist):
            size = lists.list_size(list_no)
            if size:
                ids = faiss.rev_swig_ptr(lists.get_ids(list_no), size)
                ids[:] = kept_before[ids]


def _delete_metadata(change: FolderChange, files: list[Path], folder: Path, deleted: np.ndarray) -> None:
    """Writes the files again that have deleted rows; one with no others is removed."""
    start = 0
    for file in files:
        table = pq.read_table(file)
        of_file = deleted[start : start + len(table)]
        start += len(table)
        name = str(file.relative_to(folder))
        if of_file.all():
            change.remove(name)
        elif of_file.any():
            pq.write_table(table.filter(pa.array(~of_file)), change.replace(name))


def delete_items(options: DeleteOptions) -> int:
    """Deletes what the flags name; see `DeleteOptions`."""
    conditions = read_filter(options.filter)
    if options.milvus_uri is not None:
        return delete_from_milvus(options.milvus_uri, str(options.collection), conditions)
    return delete_from_index(Path(str(options.index_folder)).expanduser(), conditions)
