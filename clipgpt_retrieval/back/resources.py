"""What a served index is made of: clip-retrieval's resources for it, its clipgpt model and its items."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import all_clip
import faiss
from clip_retrieval.clip_back import ClipOptions, ClipResource, KnnService, dict_to_clip_options, load_clip_indices

from clipgpt_retrieval import engine
from clipgpt_retrieval.back.batched_engine import BatchedEngine
from clipgpt_retrieval.back.batching import Batcher
from clipgpt_retrieval.back.options import BackOptions, check_weight
from clipgpt_retrieval.back.result_cache import ResultCache
from clipgpt_retrieval.engine.text_tower import models_in_evaluation_mode
from clipgpt_retrieval.errors import DataError, InputError, ModelError, NotFoundError
from clipgpt_retrieval.index.items import Items

LOGGER = logging.getLogger(__name__)

DEFAULT_COLUMNS = ["url", "image_path", "caption", "NSFW"]


@dataclass
class ClipGptResource(ClipResource):
    """clip-retrieval's resources of one index, and ours.

    Attributes:
        name: of the index, as requests call it.
        engine: encodes and captions, or None where this index is served as stock.
        clipgpt_weight: CLIP-GPT's share in a text query where the request does not say.
        items: item ids to embeddings.
        index_file: where the index of the items lies.
        results_cache: results of searches, as JSON.
    """

    name: str
    engine: BatchedEngine | None
    clipgpt_weight: float
    items: Items
    index_file: Path
    results_cache: ResultCache

    @property
    def encodes(self) -> bool:
        """Whether CLIP-GPT encodes queries here: there is a model, and it does not caption only."""
        return self.engine is not None and self.engine.encodes

    def require_engine(self, field: str) -> BatchedEngine:
        """The clipgpt model.

        Raises:
            InputError: this index has none; ``field`` is what asked for it.
        """
        if self.engine is None:
            told = f"index {self.name!r} has no clipgpt model: ask another index, or start the back end with a model"
            raise InputError(field, told)
        return self.engine

    def require_clip(self, field: str) -> Any:
        """CLIP's own weights.

        Raises:
            InputError: the server runs without them; ``field`` is what asked for them.
        """
        if self.model is None:
            raise InputError(field, "needs CLIP's own weights, and this server runs with --load_clip False")
        return self.model

    def index_of(self, modality: str) -> faiss.Index:
        """The image or the text index.

        Raises:
            InputError: there is no such index.
        """
        index = self.image_index if modality == "image" else self.text_index
        if index is None:
            raise InputError("modality", f"index {self.name!r} holds no {modality} index: ask for the other modality")
        return index


def pick_resource(resources: dict[str, ClipGptResource], name: str | None) -> ClipGptResource:
    """The index of a request; without a name, the first.

    Raises:
        NotFoundError: no index has this name.
    """
    if name is None:
        return next(iter(resources.values()))
    if name not in resources:
        raise NotFoundError("indice_name", f"no index is named {name!r}; there are: {', '.join(resources)}")
    return resources[name]


def load_resources(options: BackOptions) -> dict[str, ClipGptResource]:
    """Loads every index of the indices JSON, each with its clipgpt model; equal models load once.

    Raises:
        DataError: the indices JSON or what it names is missing or cannot be read.
        InputError: flags that exclude each other.
        ModelError: a clipgpt model that cannot be read or does not fit its index.
    """
    entries = _read_indices(options.indices_paths)
    folders = _check_folders(entries, options)
    paths = {name: entry.get("clipgpt_model", options.clipgpt_model) for name, entry in entries.items()}
    models = _load_models({path for path in paths.values() if path}, options)
    stock_resources = _load_stock_resources(options)
    resources = {}
    for name, entry in entries.items():
        path = paths[name]
        clipgpt = models[path] if path else None
        stock = stock_resources[name]
        if clipgpt is not None:
            _check_dimension(name, stock, f"clipgpt model {paths[name]}", clipgpt.clip_dim)
            if not clipgpt.encodes:
                LOGGER.warning("%s only captions, so text queries of index %s use CLIP", paths[name], name)
        if stock.model is not None:
            _check_dimension(name, stock, "the CLIP of --clip_model", _clip_dim(stock))
        if stock.metadata_is_ordered_by_ivf:
            _check_search_reordered(name, stock)
        # Items are the rows of the image index: the ids of a re-ordered collection count its lists, too.
        index = stock.text_index if stock.image_index is None else stock.image_index
        resources[name] = ClipGptResource(
            **{field.name: getattr(stock, field.name) for field in fields(ClipResource)},
            name=name,
            engine=clipgpt,
            clipgpt_weight=_weight(entry, options) if clipgpt else options.clipgpt_weight,
            items=_items(name, index, stock.metadata_is_ordered_by_ivf),
            index_file=folders[name] / ("text.index" if stock.image_index is None else "image.index"),
            results_cache=ResultCache("search", options.cache_bytes, len),
        )
    return resources


def _load_models(paths: set[str], options: BackOptions) -> dict[str, BatchedEngine]:
    batcher = Batcher(options.max_waiting_rows)
    return {path: BatchedEngine(engine.load(path), batcher, options.cache_bytes) for path in sorted(paths)}


def _read_indices(indices_paths: str) -> dict[str, dict[str, Any]]:
    """The entries of the indices JSON, each as a dict."""
    try:
        entries = json.loads(Path(indices_paths).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read the indices JSON {indices_paths}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"the indices JSON {indices_paths} is not valid JSON: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise DataError(f'the indices JSON {indices_paths} must be like {{"name": "index folder"}}')
    return {name: _as_entry(name, entry) for name, entry in entries.items()}


def _as_entry(name: str, entry: Any) -> dict[str, Any]:
    if isinstance(entry, str):
        return {"indice_folder": entry}
    if isinstance(entry, dict) and isinstance(entry.get("indice_folder"), str):
        return entry
    raise DataError(f"index {name!r} in the indices JSON needs a folder, or a dict with indice_folder")


def _clip_options(options: BackOptions) -> ClipOptions:
    columns = DEFAULT_COLUMNS if options.columns_to_return is None else options.columns_to_return
    shared = {
        field.name: getattr(options, field.name)
        for field in fields(ClipOptions)
        if field.name not in ("indice_folder", "columns_to_return")
    }
    return ClipOptions(indice_folder="", columns_to_return=columns, **shared)


def _check_folders(entries: dict[str, dict[str, Any]], options: BackOptions) -> dict[str, Path]:
    """The folder of each index."""
    folders = {}
    clip_options = _clip_options(options)
    for name, entry in entries.items():
        # As upstream does: what an entry sets also holds for the entries after it.
        clip_options = dict_to_clip_options(entry, clip_options)
        _check_folder(name, clip_options)
        folders[name] = Path(clip_options.indice_folder)
    return folders


def _check_folder(name: str, clip_options: ClipOptions) -> None:
    folder = Path(clip_options.indice_folder)
    if not folder.is_dir():
        raise DataError(f"index {name!r}: there is no folder {folder}: write in the indices JSON where it lies")
    if not (folder / "image.index").exists() and not (folder / "text.index").exists():
        raise DataError(
            f"index {name!r}: {folder} holds neither image.index nor text.index: give a folder that clip-retrieval "
            "index wrote"
        )
    prepared = clip_options.enable_hdf5 and any(folder.glob("metadata*.hdf5"))
    if not prepared and not any((folder / "metadata").glob("*")):
        raise DataError(
            f"index {name!r}: {folder} has no metadata folder with files in it: copy the folder metadata of the "
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
        raise DataError(f"index {name!r}: {folder} has no image.index to re-order the metadata by: leave the flag out")


def _load_stock_resources(options: BackOptions) -> dict[str, ClipResource]:
    try:
        if options.load_clip:
            with models_in_evaluation_mode():
                return load_clip_indices(options.indices_paths, _clip_options(options))
        with _without_clip_weights():
            return load_clip_indices(options.indices_paths, _clip_options(options))
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
    """Lets clip-retrieval load its indices as usual, but no CLIP and no mCLIP."""
    # By its name: as an attribute of the package, clip_back is the function.
    clip_back: Any = import_module("clip_retrieval.clip_back")
    load_clip, load_mclip = all_clip.load_clip, clip_back.load_mclip
    all_clip.load_clip = lambda *args, **kwargs: (None, None, None)
    clip_back.load_mclip = lambda *args, **kwargs: None
    try:
        yield
    finally:
        all_clip.load_clip, clip_back.load_mclip = load_clip, load_mclip


def _check_dimension(name: str, stock: ClipResource, model: str, dimension: int) -> None:
    for index in (stock.image_index, stock.text_index):
        if index is not None and index.d != dimension:
            raise ModelError(
                f"{model} makes embeddings of {dimension} numbers, index {name!r} holds {index.d}: "
                "give the one that goes with the CLIP of this index"
            )


def _clip_dim(stock: ClipResource) -> int:
    """The dimension of CLIP's embeddings: what it makes of a text tells it for every kind of CLIP."""
    [embedding] = stock_text_query(stock, "a photo")
    return len(embedding)


def stock_text_query(stock: ClipResource, text: str, *, use_mclip: bool = False) -> Any:
    """A text as clip-retrieval itself encodes it, float32 ``[1, d]``, unit norm."""
    return KnnService(clip_resources={}).compute_query(
        stock,
        text_input=text,
        image_input=None,
        image_url_input=None,
        embedding_input=None,
        use_mclip=use_mclip,
        aesthetic_score=None,
        aesthetic_weight=None,
    )


def _weight(entry: dict[str, Any], options: BackOptions) -> float:
    weight = check_weight(entry.get("clipgpt_weight", options.clipgpt_weight))
    if weight < 1 and not options.load_clip:
        raise InputError("clipgpt_weight", f"{weight} blends in CLIP's text tower, which --load_clip False leaves out")
    return weight


def _check_search_reordered(name: str, stock: ClipResource) -> None:
    """Sets what upstream sets around every search of a re-ordered collection; not every index takes it."""
    for index in (stock.image_index, stock.text_index):
        if index is None:
            continue
        try:
            nprobe = faiss.extract_index_ivf(index).nprobe
            parameters = f"nprobe={nprobe},efSearch={nprobe * 2},ht=2048"
            space: Any = faiss.ParameterSpace()  # its type stubs describe another overload
            space.set_index_parameters(index, parameters)
        except RuntimeError as error:
            raise DataError(
                f"index {name!r}: clip-retrieval searches a collection re-ordered by IVF only in an index "
                "with an HNSW quantizer and product quantization (such as OPQ64,IVF1024_HNSW32,PQ64)"
            ) from error


def _items(name: str, index: faiss.Index, ordered_by_ivf: bool) -> Items:
    try:
        return Items(index, ordered_by_ivf=ordered_by_ivf)
    except DataError as error:
        raise DataError(f"index {name!r}: {error}") from error
