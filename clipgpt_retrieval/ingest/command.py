"""The commands `clipgpt-retrieval add`, `load` and `delete`."""

from __future__ import annotations

from pathlib import Path

from clipgpt_retrieval.ingest.options import AddOptions
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
