"""The options of `encode` and `caption`."""

from dataclasses import MISSING, dataclass
from typing import Any

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import option

STRATEGIES = ("sequential", "pyspark", "slurm")


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The flags that `encode` and `caption` share: how a whole collection is processed.

    Raises:
        InputError: a value that is not valid.
    """

    batch_size: int = option(64, "rows in a forward pass.")
    write_batch_size: int = option(
        100_000, "most rows in an output file; an interrupted job starts its current file over."
    )
    distribution_strategy: str = option("sequential", "sequential, pyspark or slurm.")
    retries: int = option(3, "attempts after the first before a file is skipped and listed in report.json.")
    slurm_nodes: int = option(1, "nodes of the SLURM job.")
    slurm_tasks_per_node: int = option(1, "workers on each node.")
    slurm_args: str = option("", "further flags of sbatch, in one string.")
    device: str = option("auto", "auto, cpu, cuda or mps.")

    def __post_init__(self) -> None:
        for name in ("batch_size", "write_batch_size", "slurm_nodes", "slurm_tasks_per_node"):
            check_integer(name, getattr(self, name), 1)
        check_integer("retries", self.retries, 0)
        if self.distribution_strategy not in STRATEGIES:
            message = f"is {self.distribution_strategy!r}, it must be one of {', '.join(STRATEGIES)}"
            raise InputError("distribution_strategy", message)


@dataclass(frozen=True)
class EncodeOptions(JobOptions):
    """The flags of `clipgpt-retrieval encode`.

    Raises:
        InputError: a value that is not valid, or flags that exclude each other.
    """

    model: str = option(MISSING, "clipgpt model: directory, hub id or fsspec URL.")
    space: str = option("query", "query (to search with) or image (the estimate of the image embedding).")
    output: str | None = option(
        None, "an .npy file for the embeddings [n, clip_dim] of the texts; by default they are printed as JSON lines."
    )
    input: str | None = option(
        None, "a .parquet, .jsonl or .txt file (a text a line), or a folder of them, local or any fsspec URL."
    )
    output_folder: str | None = option(
        None, "folder for img_emb/ and metadata/, as clip-retrieval index reads them; an interrupted job is resumed."
    )
    text_column: str = option(
        "caption", "parquet column or JSON key of the texts; others are kept, one named caption as input_caption."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.space not in ("query", "image"):
            raise InputError("space", f"is {self.space!r}, it must be 'query' or 'image'")
        if self.input is not None and self.output is not None:
            raise InputError("input", "cannot be combined with --output: use --output_folder")
        if self.input is not None and self.output_folder is None:
            raise InputError("output_folder", "is missing: give a folder for the results")


@dataclass(frozen=True)
class CaptionOptions(JobOptions):
    """The flags of `clipgpt-retrieval caption`.

    Raises:
        InputError: a value that is not valid, or flags that exclude each other.
    """

    embeddings: str | None = option(None, "an .npy file [n, clip_dim], as clip-retrieval writes them.")
    model: str | None = option(None, "clipgpt model: directory, hub id or fsspec URL.")
    rows: int | None = option(None, "caption only the first rows of the file.")
    num_captions: int = option(1, "captions for each embedding.")
    num_beams: int = option(1, "beams of the beam search.")
    max_new_tokens: int = option(40, "longest caption, in tokens.")
    temperature: float = option(0.0, "0 takes the most probable token, above 0 samples.")
    top_p: float = option(1.0, "sample among the most probable tokens with this cumulative probability.")
    embeddings_folder: str | None = option(
        None,
        "output of clip-retrieval inference, a folder of .npy or parquet files, or a faiss index, local or any fsspec "
        "URL.",
    )
    output_folder: str | None = option(
        None,
        "folder for metadata/: the columns of the input's metadata and clipgpt_caption, in the same order; an "
        "interrupted job is resumed.",
    )
    embedding_column: str = option("embedding", "parquet column of the embeddings.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise InputError("model", "is missing: give a clipgpt model")
        if self.rows is not None:
            check_integer("rows", self.rows, 1)
        if self.embeddings_folder is None and self.embeddings is None:
            raise InputError("embeddings", "is missing: give an .npy file, or --embeddings_folder")
        if self.embeddings_folder is not None and (self.embeddings is not None or self.rows is not None):
            raise InputError("embeddings_folder", "cannot be combined with an .npy file or --rows")
        if self.embeddings_folder is not None and self.output_folder is None:
            raise InputError("output_folder", "is missing: give a folder for the results")

    def generation(self) -> dict[str, Any]:
        """The fields of `engine.generation.Generation`."""
        names = ("num_captions", "num_beams", "max_new_tokens", "temperature", "top_p")
        return {name: getattr(self, name) for name in names}


def check_integer(name: str, value: Any, least: int) -> None:
    """Checks a flag.

    Raises:
        InputError: not an integer of at least ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(name, f"is {value!r}, it must be an integer of at least {least}")
