"""New items for a faiss index folder: their embeddings into the index, their metadata beside those of the others."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.index.folder_change import FolderChange, changed_folder
from clipgpt_retrieval.index.metadata import MetadataFiles, find_metadata, is_ordered_by_ivf
from clipgpt_retrieval.ingest.source import Source, SourceFile, read_batches

INDEX_FILES = {"image.index": "img_emb", "text.index": "text_emb"}
"""The indexes of a folder, and the folders of embeddings that they are made of."""

RECORD = "added.json"
"""Which files of embeddings were added: the same command does not add them twice."""

BATCH_ROWS = 10_000
_ADDED = re.compile(r"_added_\d{6}$")


def add_items(embeddings_folder: str, index_folder: Path) -> tuple[int, int]:
    """Adds the rows of an embeddings folder to an index folder.

    A file of embeddings that was added before is left out. Rows without a usable embedding are, too.

    Args:
        embeddings_folder: path or fsspec URL.
        index_folder: as clip-retrieval index lays it out.

    Returns:
        The number of items added, and of rows left out as unusable.

    Raises:
        DataError: the folders cannot be read, or do not fit each other.
    """
    names = [name for name in INDEX_FILES if (index_folder / name).exists()]
    if not names:
        raise DataError(f"{index_folder} has neither image.index nor text.index: give a folder of clip-retrieval index")
    source = Source(embeddings_folder, [INDEX_FILES[name] for name in names])
    with changed_folder(index_folder) as change:
        metadata = changeable_metadata(index_folder)
        indexes = [
            _read_index(index_folder / name, dimension)
            for name, dimension in zip(names, source.dimensions, strict=True)
        ]
        _check_rows(index_folder, metadata, indexes)
        before = indexes[0].ntotal
        added = read_record(index_folder)
        new = [file for file in source.files if file.fingerprint not in added]
        if not new:
            return 0, 0
        total = _add_files(change, source, new, indexes, metadata)
        for name, index in zip(names, indexes, strict=True):
            write_index(index, change.replace(name))
        record = {**added, **{file.fingerprint: Path(file.name).name for file in new}}
        change.replace(RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        forget_derived(change, index_folder)
        count = indexes[0].ntotal - before
    return count, total - count


def changeable_metadata(folder: Path) -> MetadataFiles:
    """The metadata of an index folder that can be changed.

    Raises:
        DataError: the folder has none in parquet, or an index of another layout.
    """
    metadata = find_metadata(folder)
    if is_ordered_by_ivf(folder):
        raise DataError(f"{folder} has metadata in the order of its index, which cannot change: build it again")
    if not metadata.parquet or metadata.arrow:
        raise DataError(f"{folder}/metadata must have parquet files and no others: only such an index can be changed")
    return metadata


def read_record(folder: Path) -> dict[str, str]:
    """The files of embeddings that were added to an index folder: names by fingerprint.

    Raises:
        DataError: the record is damaged.
    """
    try:
        return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder / RECORD} cannot be read: restore it, or build the index again") from error


def forget_derived(change: FolderChange, folder: Path) -> None:
    """Removes what clip-retrieval has made of the metadata, and makes again."""
    for file in find_metadata(folder).hdf5:
        change.remove(file.name)


def write_index(index: Any, path: Path) -> None:
    """Writes a faiss index.

    Raises:
        DataError: the disk is full, or not writable.
    """
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise DataError(f"{path} cannot be written: {str(error).rpartition(': ')[2]}") from error


def _read_index(file: Path, dimension: int) -> Any:
    try:
        index = faiss.read_index(str(file))
    except RuntimeError as error:
        raise DataError(f"{file} cannot be read as a faiss index: build it again") from error
    if index.d != dimension:
        raise DataError(f"{file} has dimension {index.d}, the embeddings to add have {dimension}: use the same CLIP")
    return index


def _check_rows(folder: Path, metadata: MetadataFiles, indexes: Sequence[Any]) -> None:
    for index in indexes:
        if index.ntotal != metadata.num_rows:
            raise DataError(
                f"{folder} has {index.ntotal} items and {metadata.num_rows} rows of metadata: build the index again"
            )


def _add_files(
    change: FolderChange, source: Source, files: Sequence[SourceFile], indexes: Sequence[Any], metadata: MetadataFiles
) -> int:
    """Adds files to indexes in memory and writes their metadata; the number of their rows."""
    schema = pa.unify_schemas([pq.read_schema(file) for file in metadata.parquet], promote_options="permissive")
    schema = schema.remove_metadata()
    total = sum(file.count for file in files)
    name = _last_name(metadata.parquet[-1])
    with (
        pq.ParquetWriter(change.replace(f"metadata/{name}"), schema) as writer,
        tqdm(total=total, desc="add", unit="row", unit_scale=True) as bar,
    ):
        for file in files:
            for batch in read_batches(source.folder, file, BATCH_ROWS):
                writer.write_table(_as_schema(batch.metadata, schema, file.pairs[0].metadata))
                for index, embeddings in zip(indexes, batch.embeddings, strict=True):
                    _add(index, embeddings)
                bar.update(batch.count)
    return total


def _add(index: Any, embeddings: np.ndarray) -> None:
    if isinstance(index, faiss.IndexIDMap):
        index.add_with_ids(embeddings, np.arange(index.ntotal, index.ntotal + len(embeddings)))
    else:
        index.add(embeddings)


def _as_schema(table: pa.Table, schema: pa.Schema, file: str) -> pa.Table:
    """The columns that the metadata of the index have, null where the file has none.

    Raises:
        DataError: a column of another type.
    """
    columns = []
    for field in schema:
        found = table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
        try:
            columns.append(found.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"{file}: column {field.name} is {found.type}, and {field.type} in the index: convert it ({error})"
            ) from error
    return pa.table(columns, schema=schema)


def _last_name(last: Path) -> str:
    """A name that sorts after all others: upstream reads the files in that order."""
    stem = last.stem
    number = int(stem[-6:]) + 1 if _ADDED.search(stem) else 0
    return f"{_ADDED.sub('', stem)}_added_{number:06d}.parquet"
