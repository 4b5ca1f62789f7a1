"""The commands `clipgpt-retrieval add`, `load` and `delete`."""

from __future__ import annotations

import sys
from pathlib import Path

from clipgpt_retrieval.ingest.options import AddOptions, DeleteOptions, LoadOptions
from clipgpt_retrieval.options import takes_options


@takes_options(AddOptions)
def add(options: AddOptions) -> None:
    """Adds the items of an embeddings folder to a faiss index; a back end shows them after SIGHUP."""
    from clipgpt_retrieval.ingest.add import add_items

    added, unusable = add_items(options.embeddings_folder, Path(options.index_folder).expanduser())
    if not added and not unusable:
        print(f"{options.index_folder} has all files of {options.embeddings_folder} already")
        return
    left_out = f"; {unusable:,} rows without a usable embedding were left out" if unusable else ""
    print(f"added {added:,} items to {options.index_folder}{left_out}")


@takes_options(LoadOptions)
def load(options: LoadOptions) -> None:
    """Loads an embeddings folder into a Milvus collection; searches find its items at once."""
    from clipgpt_retrieval.ingest.load import load_folder

    done = load_folder(options)
    if done.missing_columns:
        columns = ", ".join(done.missing_columns)
        print(f"collection {options.collection} has no columns {columns}: they were left out", file=sys.stderr)
    left_out = f"; {done.unusable:,} rows without a usable embedding were left out" if done.unusable else ""
    skipped = f"; {done.skipped:,} files were loaded before" if done.skipped else ""
    print(f"loaded {done.rows:,} rows into {options.collection} of {options.milvus_uri}{left_out}{skipped}")


@takes_options(DeleteOptions)
def delete(options: DeleteOptions) -> None:
    """Deletes the items that a filter keeps, from a faiss index folder or a Milvus collection."""
    from clipgpt_retrieval.ingest.delete import delete_items

    count = delete_items(options)
    print(f"deleted {count:,} items of {options.index_folder or options.collection}")
