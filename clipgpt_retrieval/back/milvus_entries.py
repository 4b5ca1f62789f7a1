"""Entries of the indices JSON that name a collection of Milvus in place of an index folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from clipgpt_retrieval.back.shown_images import default_roots
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.milvus import MilvusCollection
from clipgpt_retrieval.storage import is_url

Entry = dict[str, Any]

_FOLDER_OPTIONS = {"enable_hdf5": False, "use_arrow": False, "reorder_metadata_by_ivf_index": False}


def is_milvus(entry: Mapping[str, Any]) -> bool:
    """Whether an entry names a collection of Milvus."""
    return "milvus_uri" in entry


def check_entry(name: str, entry: Mapping[str, Any]) -> None:
    """Checks the form of an entry with ``milvus_uri``.

    Raises:
        DataError: a value is missing, or not text.
    """
    for key in ("milvus_uri", "collection"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise DataError(
                f"index {name!r} in the indices JSON must have {key} as text: give milvus_uri and collection"
            )


def with_folders(entries: Mapping[str, Entry], scratch: Path) -> dict[str, Entry]:
    """The entries as clip-retrieval loads them: it takes a folder without an index for a collection of Milvus.

    Those are last, since the options of an entry apply to the ones after it.

    Args:
        entries: of the indices JSON.
        scratch: folder for an empty folder of metadata.
    """
    empty = scratch / "without_index"
    (empty / "metadata").mkdir(parents=True)
    pd.DataFrame().to_parquet(empty / "metadata" / "metadata.parquet")
    faiss = {name: entry for name, entry in entries.items() if not is_milvus(entry)}
    milvus = {
        name: {**entry, "indice_folder": str(empty), **_FOLDER_OPTIONS}
        for name, entry in entries.items()
        if is_milvus(entry)
    }
    return {**faiss, **milvus}


def open_collection(name: str, entry: Mapping[str, Any], filter_fields: Sequence[str] | None) -> MilvusCollection:
    """The collection of an entry.

    Raises:
        DataError: Milvus cannot be reached, or has no such collection.
        InputError: a URI that is none, or the packages are not installed.
    """
    return MilvusCollection(entry["milvus_uri"], entry["collection"], f"index {name!r}", filter_fields)


def image_roots(entry: Mapping[str, Any], collection: Collection) -> list[Path]:
    """The folders below which images of a collection are read; those of a server are where its metadata say."""
    folder = Path(entry["milvus_uri"]).expanduser()
    roots = default_roots(folder, _ImagePaths(collection), len(collection))
    return roots[1:] if is_url(entry["milvus_uri"]) else roots


class _ImagePaths:
    """Reads metadata as clip-retrieval's providers do."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def get(self, ids: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """The metadata of items; empty for those that do not exist."""
        return self._collection.metadata(ids, columns)
