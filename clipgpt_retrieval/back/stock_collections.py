"""The collections behind clip-retrieval's resources: its faiss indexes with the metadata that it has loaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_retrieval.clip_back import ArrowMetadataProvider, ClipResource, Hdf5MetadataProvider

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.faiss_collection import FaissCollection
from clipgpt_retrieval.index.metadata import REORDERED_FILE, find_metadata
from clipgpt_retrieval.index.metadata_columns import ArrowColumns, Hdf5Columns, MetadataColumns, ParquetColumns
from clipgpt_retrieval.index.metadata_rows import ArrowRows, FrameRows, Hdf5Rows, MetadataRows


def stock_collections(
    name: str, stock: ClipResource, folder: Path, filter_fields: Sequence[str] | None
) -> dict[str, Collection]:
    """The collections of an index by modality, ``image`` or ``text``; both have the same ids and metadata.

    Args:
        name: of the index, for errors.
        stock: clip-retrieval's resources of it.
        folder: of the index.
        filter_fields: the fields that filters may name; None: all.

    Raises:
        DataError: an index that cannot reconstruct its vectors, or whose ids are not those of the metadata.
    """
    rows, columns = _rows(stock.metadata_provider), _columns(stock.metadata_provider, folder)
    collections: dict[str, Collection] = {}
    for modality, index in (("image", stock.image_index), ("text", stock.text_index)):
        if index is None:
            continue
        try:
            collections[modality] = FaissCollection(
                index,
                # The lists of the image index give the ids of both.
                ordered_by_ivf=stock.metadata_is_ordered_by_ivf and modality == "image",
                row_to_id=stock.ivf_old_to_new_mapping if stock.metadata_is_ordered_by_ivf else None,
                name=f"index {name!r}",
                rows=rows,
                columns=columns,
                filter_fields=filter_fields,
            )
        except DataError as error:
            raise DataError(f"index {name!r}: {error}") from error
    return collections


def _rows(provider: Any) -> MetadataRows:
    """Reads rows from what a provider of clip-retrieval keeps, in batches where it reads them one by one."""
    if isinstance(provider, ArrowMetadataProvider):
        return ArrowRows(lambda: provider.table)
    if isinstance(provider, Hdf5MetadataProvider):
        return Hdf5Rows(lambda: provider.ds)
    return FrameRows(provider.metadata_df)


def _columns(provider: Any, folder: Path) -> MetadataColumns:
    """The columns of the files that a provider has read; where it made hdf5 of parquet, of those."""
    files = find_metadata(folder)
    if isinstance(provider, ArrowMetadataProvider):
        return ArrowColumns(files.parquet + files.arrow)
    if files.parquet:
        return ParquetColumns(files.parquet)
    reordered = Path(provider.ds.file.filename).name == REORDERED_FILE
    return Hdf5Columns(Path(provider.ds.file.filename), by_id=reordered)
