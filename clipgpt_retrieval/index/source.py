"""An index on disk, opened without reading its items: a folder in the layout of clip-retrieval, or an index file."""

from dataclasses import dataclass
from pathlib import Path

import faiss
import pyarrow as pa

from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.faiss_collection import FaissCollection
from clipgpt_retrieval.index.folder_change import settled_folder
from clipgpt_retrieval.index.metadata import REORDERED_FILE, find_metadata, is_ordered_by_ivf
from clipgpt_retrieval.index.metadata_columns import (
    ArrowColumns,
    Hdf5Columns,
    MetadataColumns,
    ParquetColumns,
    open_arrow,
    open_hdf5,
)
from clipgpt_retrieval.index.metadata_rows import ArrowRows, Hdf5Rows, MetadataRows, ParquetRows
from clipgpt_retrieval.storage import is_url


@dataclass(frozen=True)
class Source:
    """An opened index.

    Attributes:
        file: the index file, or the folder of an index of several files.
        items: its items.
    """

    file: Path
    items: Collection

    @property
    def folder(self) -> Path:
        """The folder of the index and its metadata."""
        return self.file.parent


def open_index(path: str) -> Source:
    """Opens an index, memory-mapped.

    Args:
        path: a folder with ``image.index`` or ``text.index``, an index file, or a folder with
            ``populated.index`` and its inverted lists.

    Raises:
        DataError: not an index, not on a local disk, or an index that cannot reconstruct its vectors.
    """
    if is_url(path):
        raise DataError(f"{path} is not on a local disk: download the index, and give the path of the copy")
    check_name(path)
    file = _index_file(Path(path).expanduser())
    with settled_folder(file.parent):
        index = _read_index(file)
        ordered = is_ordered_by_ivf(file.parent)
        rows, columns = metadata_rows(file.parent), metadata_columns(file.parent)
    try:
        return Source(file, FaissCollection(index, ordered_by_ivf=ordered, name=str(file), rows=rows, columns=columns))
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _read_index(file: Path) -> faiss.Index:
    try:
        if file.is_dir():
            index = faiss.read_index(str(file / "populated.index"), faiss.IO_FLAG_ONDISK_SAME_DIR)
        else:
            index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError as error:
        raise DataError(f"{file} cannot be read as a faiss index: build it again, or give another") from error
    if isinstance(index, faiss.IndexBinary) or index.ntotal == 0:
        raise DataError(f"{file} contains no embeddings: give an index with some")
    return index


def metadata_columns(folder: Path) -> MetadataColumns | None:
    """The columns of the metadata beside an index, for filters; None without metadata."""
    files = find_metadata(folder)
    if files.parquet:
        return ParquetColumns(files.parquet)
    if files.arrow:
        return ArrowColumns(files.arrow)
    if not files.hdf5:
        return None
    reordered = is_ordered_by_ivf(folder)
    return Hdf5Columns(folder / REORDERED_FILE if reordered else files.hdf5[0], by_id=reordered)


def metadata_rows(folder: Path) -> MetadataRows | None:
    """The rows of the metadata beside an index, by item id; None without metadata."""
    files = find_metadata(folder)
    if is_ordered_by_ivf(folder):
        return Hdf5Rows(lambda: open_hdf5(folder / REORDERED_FILE))
    if files.parquet:
        return ParquetRows(files.parquet)
    if files.arrow:
        return ArrowRows(lambda: pa.concat_tables(map(open_arrow, files.arrow)))
    return Hdf5Rows(lambda: open_hdf5(files.hdf5[0])) if files.hdf5 else None


def check_name(path: str) -> None:
    """Refuses a path that is not UTF-8, as faiss opens no such file.

    Raises:
        DataError: names the path, the wrong bytes escaped.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"the path {path!a} is not UTF-8, and faiss cannot open it: rename it") from None


def check_model_fits(clip_dim: int, items: Collection, index_file: Path | str) -> None:
    """Refuses a model whose embeddings have another dimension than those of an index.

    Raises:
        InputError: names both dimensions.
    """
    if items.dimension != clip_dim:
        raise InputError("model", f"has dimension {clip_dim}, the embeddings of {index_file} have {items.dimension}")


def _index_file(path: Path) -> Path:
    if path.is_file() or (path / "populated.index").is_file():
        return path
    for name in ("image.index", "text.index"):
        if (path / name).exists():
            return path / name
    raise DataError(f"{path} is not an index: give an index file, or a folder with image.index or text.index")
