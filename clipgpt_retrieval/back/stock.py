"""clip-retrieval's own resources and text encoding, called as upstream calls them."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import all_clip
from clip_retrieval.clip_back import ClipOptions, ClipResource, KnnService, load_clip_indices

from clipgpt_retrieval.back.milvus_entries import with_folders
from clipgpt_retrieval.back.options import BackOptions
from clipgpt_retrieval.clip_names import all_clip_name
from clipgpt_retrieval.engine.text_tower import clip_loading, with_hub_checked
from clipgpt_retrieval.errors import DataError, InputError, first_line
from clipgpt_retrieval.index.metadata import find_metadata

DOWNLOADS = {
    "load_clip": "clip_model",
    "load_mclip": "enable_mclip_option",
    "load_safety_model": "provide_safety_model",
    "load_violence_detector": "provide_violence_detector",
    "get_aesthetic_embedding": "provide_aesthetic_embeddings",
}
"""Functions of clip-retrieval that download, and the flags that call them."""

DEFAULT_COLUMNS = ["url", "image_path", "caption", "NSFW"]


def stock_options(options: BackOptions) -> ClipOptions:
    """The flags of `back` as upstream takes them; each index sets its own folder."""
    shared = {
        field.name: getattr(options, field.name) for field in fields(ClipOptions) if field.name != "indice_folder"
    }
    columns = DEFAULT_COLUMNS if options.columns_to_return is None else options.columns_to_return
    clip_model = all_clip_name(options.clip_model) if options.load_clip else options.clip_model
    return ClipOptions(
        **{**shared, "indice_folder": "", "columns_to_return": columns, "clip_model": clip_model},
    )


def with_known_columns(
    options: BackOptions, entries: dict[str, dict[str, Any]], folders: dict[str, Path]
) -> BackOptions:
    """The options with columns that exist wherever metadata are re-ordered, as upstream fails on others.

    Raises:
        DataError: none of upstream's default columns exists, or not those of ``--columns_to_return``.
    """
    flag = options.reorder_metadata_by_ivf_index
    reordered = [folders[name] for name in folders if entries[name].get("reorder_metadata_by_ivf_index", flag)]
    wanted = DEFAULT_COLUMNS if options.columns_to_return is None else options.columns_to_return
    for folder in reordered:
        known = find_metadata(folder).columns
        if not known:  # hdf5 alone: re-ordered before
            continue
        found = [column for column in wanted if column in known]
        if not found or (options.columns_to_return is not None and found != list(wanted)):
            raise DataError(
                f"{folder}/metadata has the columns {', '.join(known)}: give some of them as --columns_to_return"
            )
        wanted = found
    return replace(options, columns_to_return=wanted) if reordered else options


def load_stock_resources(options: BackOptions, entries: dict[str, dict[str, Any]]) -> dict[str, ClipResource]:
    """Upstream's resources of each index; without CLIP's weights if ``load_clip`` is false.

    Args:
        options: the flags of `back`.
        entries: the entries of the indices JSON, with folders that can be opened as they are.

    Raises:
        DataError: an index that faiss cannot read.
        InputError: a CLIP that some flags do not support, or that cannot be downloaded.
    """
    loading: AbstractContextManager = clip_loading() if options.load_clip else _without_clip_weights()
    try:
        with loading, _downloads_as_input_errors(), tempfile.TemporaryDirectory() as folder:
            indices = Path(folder, "indices_paths.json")
            indices.write_text(json.dumps(with_folders(entries, Path(folder))), encoding="utf-8")
            return load_clip_indices(str(indices), stock_options(options))
    except ValueError as error:
        if "not available" not in str(error):
            raise
        flags = "--enable_mclip_option False --provide_aesthetic_embeddings False"
        raise InputError("clip_model", f"{error} Give another, or {flags}") from error
    except RuntimeError as error:
        if "faiss" not in str(error):
            raise
        raise DataError(f"faiss cannot read an index: {error}") from error


@contextmanager
def _without_clip_weights() -> Iterator[None]:
    """Makes clip-retrieval load its indices without CLIP and mCLIP."""
    # By its name: as an attribute of the package, clip_back is the function.
    clip_back: Any = import_module("clip_retrieval.clip_back")
    load_clip, load_mclip = all_clip.load_clip, clip_back.load_mclip
    all_clip.load_clip = lambda *args, **kwargs: (None, None, None)
    clip_back.load_mclip = lambda *args, **kwargs: None
    try:
        yield
    finally:
        all_clip.load_clip, clip_back.load_mclip = load_clip, load_mclip


@contextmanager
def _downloads_as_input_errors() -> Iterator[None]:
    """Ends the start with one sentence where clip-retrieval cannot load one of its models."""
    clip_back: Any = import_module("clip_retrieval.clip_back")
    loaders = [(all_clip if flag == "clip_model" else clip_back, name, flag) for name, flag in DOWNLOADS.items()]
    stock = [getattr(module, name) for module, name, _ in loaders]
    for (module, name, flag), load in zip(loaders, stock, strict=True):
        setattr(module, name, _with_advice(load, flag))
    try:
        yield
    finally:
        for (module, name, _), load in zip(loaders, stock, strict=True):
            setattr(module, name, load)


def _with_advice(load: Callable[..., Any], flag: str) -> Callable[..., Any]:
    def load_or_advise(clip_model: str, *args: Any, **kwargs: Any) -> Any:
        try:
            name = with_hub_checked(clip_model) if flag == "clip_model" else clip_model
            return load(name, *args, **kwargs)
        except OSError as error:  # those of urllib, requests, fsspec and the hub are
            reason = first_line(error)
            raise InputError(
                flag,
                f"what {clip_model} needs cannot be downloaded ({reason}): without a network, give --load_clip False "
                "--enable_mclip_option False --provide_aesthetic_embeddings False, or a local file as "
                "--clip_model open_clip:NAME/FILE",
            ) from error

    return load_or_advise


def mclip_query(stock: ClipResource, text: str) -> Any:
    """The embedding of a text by the multilingual CLIP, float32 ``[1, d]``, unit norm."""
    return KnnService(clip_resources={}).compute_query(
        stock,
        text_input=text,
        image_input=None,
        image_url_input=None,
        embedding_input=None,
        use_mclip=True,
        aesthetic_score=None,
        aesthetic_weight=None,
    )
