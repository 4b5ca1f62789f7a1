"""The options of `add`, `load` and `delete`."""

from dataclasses import MISSING, dataclass

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import option

STRATEGIES = ("sequential", "pyspark")


@dataclass(frozen=True)
class AddOptions:
    """The flags of `clipgpt-retrieval add`."""

    embeddings_folder: str = option(
        MISSING, "output of clip-retrieval inference: img_emb/ and metadata/, and text_emb/ for an index of texts, too."
    )
    index_folder: str = option(MISSING, "a folder as clip-retrieval index writes it, on a local disk.")


@dataclass(frozen=True)
class LoadOptions:
    """The flags of `clipgpt-retrieval load`.

    Raises:
        InputError: a value that is not valid.
    """

    embeddings_folder: str = option(
        MISSING, "output of clip-retrieval inference: img_emb/ and metadata/, local or any fsspec URL."
    )
    milvus_uri: str = option(MISSING, "a file such as collection.db for Milvus Lite, or the URL of a Milvus server.")
    collection: str = option(MISSING, "name of the Milvus collection; it is created if it does not exist.")
    key: str | None = option(
        None, "metadata column that identifies an item: a row replaces the item with the same value."
    )
    index_type: str | None = option(
        None, "index of a new collection: by default FLAT (exact) in Milvus Lite and AUTOINDEX on a server."
    )
    index_params: str = option("{}", 'parameters of that index as JSON, such as {"nlist": 65536}.')
    batch_size: int = option(1000, "rows in a request to Milvus.")
    distribution_strategy: str = option("sequential", "sequential, or pyspark for the files of a large folder.")

    def __post_init__(self) -> None:
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise InputError("batch_size", f"is {self.batch_size!r}, it must be an integer of at least 1")
        if self.distribution_strategy not in STRATEGIES:
            message = f"is {self.distribution_strategy!r}, it must be one of {', '.join(STRATEGIES)}"
            raise InputError("distribution_strategy", message)


@dataclass(frozen=True)
class DeleteOptions:
    """The flags of `clipgpt-retrieval delete`.

    Raises:
        InputError: flags that exclude each other, or none of them.
    """

    index_folder: str | None = option(None, "a folder as clip-retrieval index writes it, on a local disk.")
    filter: str = option(
        "", 'the items to delete, as JSON: [{"field": "NSFW", "op": "=", "value": "UNSAFE"}], all of which hold.'
    )
    milvus_uri: str | None = option(None, "instead of an index folder: a Milvus Lite file, or the URL of a server.")
    collection: str | None = option(None, "name of the Milvus collection.")

    def __post_init__(self) -> None:
        if not self.filter:
            raise InputError("filter", 'is missing: give the items to delete, [{"field": .., "op": .., "value": ..}]')
        if (self.index_folder is None) == (self.milvus_uri is None):
            raise InputError("index_folder", "or milvus_uri is needed: give one of them")
        if (self.milvus_uri is None) != (self.collection is None):
            raise InputError("collection", "and milvus_uri belong together: give both")
