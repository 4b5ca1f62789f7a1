"""The indices JSON: reads its entries and checks the folders that they name."""

import json
from pathlib import Path
from typing import Any

from clip_retrieval.clip_back import ClipOptions, dict_to_clip_options

from clipgpt_retrieval.back.milvus_entries import check_entry, is_milvus
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.index.metadata import find_metadata
from clipgpt_retrieval.index.source import check_name


def read_indices(indices_paths: str) -> dict[str, dict[str, Any]]:
    """The entries of the indices JSON by the name of the index, each as a dict.

    Raises:
        DataError: not a readable file, not JSON, or not of this form.
    """
    try:
        entries = json.loads(Path(indices_paths).expanduser().read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read the indices JSON {indices_paths}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"the indices JSON {indices_paths} is not valid JSON: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise DataError(f'the indices JSON {indices_paths} must have the form {{"name": "index folder"}}')
    return {name: _as_entry(name, entry) for name, entry in entries.items()}


def _as_entry(name: str, entry: Any) -> dict[str, Any]:
    if isinstance(entry, str):
        entry = {"indice_folder": entry}
    if isinstance(entry, dict) and is_milvus(entry):
        check_entry(name, entry)
        return entry
    if isinstance(entry, dict) and isinstance(entry.get("indice_folder"), str):
        return {**entry, "indice_folder": str(Path(entry["indice_folder"]).expanduser())}
    raise DataError(f"index {name!r} in the indices JSON must be a folder, or a dict with indice_folder or milvus_uri")


def checked_folders(entries: dict[str, dict[str, Any]], clip_options: ClipOptions) -> dict[str, Path]:
    """The folder of each faiss index.

    Raises:
        DataError: a folder without an index or its metadata.
        InputError: flags that exclude each other.
    """
    folders = {}
    for name, entry in entries.items():
        if is_milvus(entry):
            continue
        # As upstream does: an entry's options also apply to the entries after it.
        clip_options = dict_to_clip_options(entry, clip_options)
        folders[name] = Path(clip_options.indice_folder)
        _check_folder(name, folders[name], clip_options)
    return folders


def _check_folder(name: str, folder: Path, clip_options: ClipOptions) -> None:
    check_name(str(folder))
    if not folder.is_dir():
        raise DataError(f"index {name!r}: folder {folder} does not exist: correct its path in the indices JSON")
    if not (folder / "image.index").exists() and not (folder / "text.index").exists():
        raise DataError(
            f"index {name!r}: {folder} has neither image.index nor text.index: give a folder written by clip-retrieval "
            "index"
        )
    metadata = find_metadata(folder)
    if not (metadata.parquet or metadata.arrow or (clip_options.enable_hdf5 and metadata.hdf5)):
        raise DataError(
            f"index {name!r}: {folder} has no metadata folder with files in it: copy the metadata folder of the "
            "embeddings there"
        )
    if not clip_options.reorder_metadata_by_ivf_index:
        return
    if not clip_options.enable_hdf5 or clip_options.use_arrow:
        raise InputError(
            "reorder_metadata_by_ivf_index",
            "needs --enable_hdf5 True and no --use_arrow: clip-retrieval re-orders hdf5 metadata only",
        )
    if not (folder / "image.index").exists():
        raise DataError(f"index {name!r}: {folder} has no image.index to re-order the metadata by: omit the flag")
