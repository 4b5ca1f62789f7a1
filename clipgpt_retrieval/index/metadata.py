"""The metadata files beside an index, as clip-retrieval lays them out."""

from dataclasses import dataclass
from pathlib import Path

REORDERED_FILE = "metadata_reordered.hdf5"
"""Beside an index whose item ids are positions in its inverted lists."""


MAPPING_FILE = "ivf_old_to_new_mapping.npy"
"""Beside such an index: clip-retrieval's table from rows to positions, raw int64 without the header of an .npy file."""


@dataclass(frozen=True)
class MetadataFiles:
    """The metadata files of one index.

    Attributes:
        parquet: in the folder ``metadata``, a row for each item in the order of the ids.
        arrow: other files of that folder, which clip-retrieval reads with ``--use_arrow True``.
        hdf5: made of the parquet files by clip-retrieval, beside the index.
    """

    parquet: list[Path]
    arrow: list[Path]
    hdf5: list[Path]

    def __bool__(self) -> bool:
        return bool(self.parquet or self.arrow or self.hdf5)

    @property
    def num_rows(self) -> int | None:
        """Rows of the parquet files; None without such files."""
        import pyarrow.parquet as pq

        return sum(pq.read_metadata(file).num_rows for file in self.parquet) if self.parquet else None

    @property
    def columns(self) -> list[str]:
        """Columns that all parquet files have, in the order of the first."""
        import pyarrow.parquet as pq

        schemas = [pq.read_schema(file).names for file in self.parquet]
        return [name for name in schemas[0] if all(name in names for names in schemas)] if schemas else []


def find_metadata(folder: Path) -> MetadataFiles:
    """The metadata files of the index in a folder."""
    files = sorted(file for file in (folder / "metadata").glob("**/*") if file.is_file())
    return MetadataFiles(
        parquet=[file for file in files if file.suffix == ".parquet"],
        arrow=[file for file in files if file.suffix != ".parquet"],
        hdf5=sorted(folder.glob("metadata*.hdf5")),
    )


def is_ordered_by_ivf(folder: Path) -> bool:
    """Whether the item ids of the index in a folder are positions in its inverted lists."""
    return (folder / REORDERED_FILE).exists()
