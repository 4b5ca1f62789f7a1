"""A job: a collection, a model and an output folder, processed shard by shard."""

from dataclasses import asdict, dataclass
from typing import Any

ENCODE = "encode"
CAPTION = "caption"


@dataclass(frozen=True)
class Shard:
    """A range of rows of one input file.

    Attributes:
        name: of the shard's files, ``{file}_{part}``: sorted by name, shards are in the order of the input.
        file: the input file's path in its file system.
        start: its first row, counted from 0.
        stop: the row after its last.
        byte_range: of the rows in a file of lines; None in other formats.
    """

    name: str
    file: str
    start: int
    stop: int
    byte_range: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.file} rows {self.start} to {self.stop - 1}"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Shard":
        """Restores a shard from JSON."""
        byte_range = values["byte_range"]
        return cls(**{**values, "byte_range": None if byte_range is None else tuple(byte_range)})


@dataclass(frozen=True)
class Job:
    """A collection to encode or to caption.

    Attributes:
        task: ``"encode"`` or ``"caption"``.
        source: path or fsspec URL of the collection.
        output_folder: path or fsspec URL.
        model: clipgpt model: directory, hub id or fsspec URL.
        column: name of the texts, or of the embeddings in parquet.
        write_batch_size: most rows in a shard, and so in an output file.
        settings: to encode, ``{"space": ..}``, and ``"text_tower": True`` where CLIP's takes part; to caption, the
            fields of ``generation.Generation``.
        batch_size: rows in a forward pass.
        device: see ``engine.ClipGpt``.
        retries: attempts after the first, for a shard or any access to storage.
    """

    task: str
    source: str
    output_folder: str
    model: str
    column: str
    write_batch_size: int
    settings: dict[str, Any]
    batch_size: int
    device: str
    retries: int

    def result_settings(self) -> dict[str, Any]:
        """The fields that determine the results, not how they are computed."""
        names = ("task", "column", "write_batch_size", "settings")
        return {name: value for name, value in asdict(self).items() if name in names}


@dataclass(frozen=True)
class Run:
    """One execution of a job, as its workers get it.

    Attributes:
        job: the job.
        name: unique among the runs of a job; names sort by time.
        model: the fingerprint of the model that the run was started with.
    """

    job: Job
    name: str
    model: str
