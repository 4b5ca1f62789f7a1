"""Loads the indices of a back end with their models, and checks that they fit each other."""

import logging
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

from clip_retrieval.clip_back import ClipResource

from clipgpt_retrieval import engine
from clipgpt_retrieval.back.batched_engine import BatchedEngine
from clipgpt_retrieval.back.batched_tower import BatchedTower
from clipgpt_retrieval.back.batching import Batcher
from clipgpt_retrieval.back.indices_json import checked_folders, read_indices
from clipgpt_retrieval.back.milvus_entries import image_roots, open_collection
from clipgpt_retrieval.back.options import BackOptions, check_correction, check_weight
from clipgpt_retrieval.back.resources import ClipGptResource
from clipgpt_retrieval.back.result_cache import ResultCache
from clipgpt_retrieval.back.shown_images import ShownImages, default_roots
from clipgpt_retrieval.back.stock import (
    load_stock_resources,
    stock_options,
    with_known_columns,
)
from clipgpt_retrieval.back.stock_collections import stock_collections
from clipgpt_retrieval.engine.text_tower import TextTower
from clipgpt_retrieval.errors import DataError, InputError, ModelError
from clipgpt_retrieval.explore.cache import index_stamp
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.folder_change import settled_folder
from clipgpt_retrieval.index.metadata import find_metadata
from clipgpt_retrieval.index.milvus import MilvusCollection

LOGGER = logging.getLogger(__name__)


class Engines:
    """The clipgpt models and text towers of a back end, each made once, with one queue for all.

    Args:
        options: the flags of `back`.
    """

    def __init__(self, options: BackOptions) -> None:
        self._batcher = Batcher(options.max_waiting_rows)
        self._cache_bytes = options.cache_bytes
        self._dtype = options.clipgpt_dtype
        self._loaded: dict[str, BatchedEngine] = {}
        self._towers: dict[int, tuple[Any, BatchedTower]] = {}

    def load(self, path: str) -> BatchedEngine:
        """The model at a path.

        Raises:
            ModelError: it cannot be read.
        """
        if path not in self._loaded:
            self._loaded[path] = BatchedEngine(engine.load(path, dtype=self._dtype), self._batcher, self._cache_bytes)
        return self._loaded[path]

    def text_tower(self, stock: ClipResource) -> BatchedTower | None:
        """The text tower of the CLIP that an index has loaded, or None without one."""
        if stock.model is None:
            return None
        key = id(stock.model)  # which stays another's while the model is kept here
        if key not in self._towers:
            tower = TextTower(stock.model, stock.tokenizer, stock.device, fast=True)
            self._towers[key] = stock.model, BatchedTower(tower, self._batcher, self._cache_bytes // 4)
        return self._towers[key][1]


def load_resources(options: BackOptions, engines: Engines) -> dict[str, ClipGptResource]:
    """Loads every index of the indices JSON with its clipgpt model.

    Args:
        options: the flags of `back`.
        engines: the models that are loaded; others are added.

    Raises:
        DataError: the indices JSON, or an index in it, is missing or cannot be read.
        InputError: flags that exclude each other.
        ModelError: a clipgpt model that cannot be read or does not fit its index.
    """
    entries = read_indices(options.indices_paths)
    folders = checked_folders(entries, stock_options(options))
    paths = {name: entry.get("clipgpt_model", options.clipgpt_model) for name, entry in entries.items()}
    models = {path: engines.load(path) for path in sorted({path for path in paths.values() if path})}
    with ExitStack() as settled:
        for folder in sorted(set(folders.values())):
            settled.enter_context(settled_folder(folder))
        stock_resources = load_stock_resources(with_known_columns(options, entries, folders), entries)
    resources = {}
    for name, entry in entries.items():
        stock, path = stock_resources[name], paths[name]
        collections = _collections(name, stock, folders.get(name), entry, options)
        if path:
            _check_engine(name, collections, path, models[path])
        tower = engines.text_tower(stock)
        if tower is not None:
            [embedding] = tower.encode(["a photo"])  # every kind of CLIP shows its dimension so
            _check_dimension(name, collections, "the CLIP of --clip_model", len(embedding))
        encoders = (models.get(path), tower)
        resources[name] = _resource(name, stock, folders.get(name), collections, encoders, entry, options)
        resources[name].clip_name = _short_name(entry.get("clip_model", options.clip_model)) if stock.model else None
        resources[name].model_name = _short_name(path) if path else None
    return resources


def _collections(
    name: str, stock: ClipResource, folder: Path | None, entry: dict[str, Any], options: BackOptions
) -> dict[str, Collection]:
    """The collections of an index by modality; ``folder`` is None for one of Milvus."""
    # Columns that the operator chose to return are those that may be asked for.
    columns = entry.get("columns_to_return", options.columns_to_return)
    if folder is None:
        return {"image": open_collection(name, entry, columns)}
    _check_rows(name, stock, find_metadata(folder).num_rows)
    return stock_collections(name, stock, folder, columns)


def _resource(
    name: str,
    stock: ClipResource,
    folder: Path | None,
    collections: dict[str, Collection],
    encoders: tuple[BatchedEngine | None, BatchedTower | None],
    entry: dict[str, Any],
    options: BackOptions,
) -> ClipGptResource:
    items = next(iter(collections.values()))
    engine, tower = encoders
    if folder is None:
        index_file, roots = None, image_roots(entry, items)
    else:
        index_file = folder / ("text.index" if stock.image_index is None else "image.index")
        roots = default_roots(folder, stock.metadata_provider, len(items))
    return ClipGptResource(
        **{field.name: getattr(stock, field.name) for field in fields(ClipResource)},
        name=name,
        engine=engine,
        text_tower=tower,
        clipgpt_weight=None if engine is None else _weight(entry, options),
        minus_words=options.minus_words,
        hub_correction=engine is not None and _hub_correction(name, engine, entry, options),
        collections=collections,
        has_metadata=_has_columns(name, items, stock.columns_to_return),
        index_file=index_file,
        index_stamp=None if index_file is None else index_stamp(index_file),
        results_cache=ResultCache("search", options.cache_bytes, len),
        shown_images=ShownImages(name, options.image_folders or roots, options.limits),
    )


def _short_name(model: str) -> str:
    """The name of a model without the folders of this machine: ``ViT-B-32`` of ``open_clip:ViT-B-32//data/clip.pt``."""
    name = str(model).removeprefix("open_clip:").rstrip("/")
    return name.rpartition("/")[2] if name.startswith("/") else name.partition("//")[0]


def _check_rows(name: str, stock: ClipResource, rows: int | None) -> None:
    """Compares the rows of the metadata with the items; None: rows that are not counted."""
    for index in (stock.image_index, stock.text_index):
        if index is None or rows is None or rows == index.ntotal:
            continue
        mismatch = f"index {name!r} has {index.ntotal} items and its metadata {rows} rows"
        if rows < index.ntotal:
            raise DataError(f"{mismatch}: build the index again from the embeddings folder of this metadata")
        LOGGER.warning("%s: if they are not of one collection, results have the metadata of others", mismatch)


def _has_columns(name: str, items: Collection, columns: list[str] | None) -> bool:
    """Whether the metadata have a column that is returned; warns if not."""
    if isinstance(items, MilvusCollection):  # its first id may have been deleted
        found = items.has_columns(columns)
    else:
        found = len(items) > 0 and any(items.metadata([0], columns))
    if not found:
        LOGGER.warning(
            "index %r: its metadata have none of the columns %s, so results have ids only: name others with "
            "--columns_to_return",
            name,
            ", ".join(columns or []),
        )
    return found


def _check_engine(name: str, collections: dict[str, Collection], path: str, engine: BatchedEngine) -> None:
    _check_dimension(name, collections, f"clipgpt model {path}", engine.clip_dim)
    if not engine.encodes:
        LOGGER.warning("%s only captions: text queries of index %s use CLIP", path, name)


def _check_dimension(name: str, collections: dict[str, Collection], model: str, dimension: int) -> None:
    for collection in collections.values():
        if collection.dimension != dimension:
            raise ModelError(
                f"{model} has dimension {dimension}, index {name!r} has {collection.dimension}: give the model for the "
                "CLIP of this index"
            )


def _weight(entry: dict[str, Any], options: BackOptions) -> float | None:
    weight = check_weight(entry.get("clipgpt_weight", options.clipgpt_weight))
    if weight is not None and weight < 1 and not options.load_clip:
        raise InputError("clipgpt_weight", f"is {weight}, which needs CLIP's text tower: omit --load_clip False")
    return weight


def _hub_correction(name: str, engine: BatchedEngine, entry: dict[str, Any], options: BackOptions) -> bool:
    chosen = check_correction(entry.get("hub_correction", options.hub_correction))
    if chosen and not engine.hub_strength:
        raise InputError("hub_correction", f"is True, but the clipgpt model of index {name!r} was trained without it")
    return bool(engine.hub_strength) if chosen is None else chosen
