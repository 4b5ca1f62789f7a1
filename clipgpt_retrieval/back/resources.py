"""What a service needs of an index: clip-retrieval's resources, the engine and the items."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_retrieval.clip_back import ClipResource

from clipgpt_retrieval.back.batched_engine import BatchedEngine
from clipgpt_retrieval.back.batched_tower import BatchedTower
from clipgpt_retrieval.back.responses import Encoder
from clipgpt_retrieval.back.result_cache import ResultCache
from clipgpt_retrieval.back.shown_images import ShownImages
from clipgpt_retrieval.errors import InputError, NotFoundError
from clipgpt_retrieval.index.collection import Collection, Ids


@dataclass
class ClipGptResource(ClipResource):
    """clip-retrieval's resources of one index, and ours.

    Attributes:
        name: of the index in requests.
        engine: encodes and captions; None for an index without a clipgpt model.
        text_tower: CLIP's own; None where its weights are not loaded.
        clipgpt_weight: weight of CLIP-GPT in a query with text, unless the request sets it; None: the model's.
        hub_correction: whether results are re-ranked, unless the request sets it.
        minus_words: whether a minus sign before a word of a text means "without it".
        collections: the collections by modality; the ids and metadata of all are the same.
        has_metadata: whether the metadata have a column that is returned.
        index_file: path of the index that the items come from; None for a collection of Milvus.
        index_stamp: of that file as it was read; it may have been changed since.
        results_cache: results of searches, as JSON.
        shown_images: reads the images of items.
        clip_name: of CLIP, for people; None without its weights.
        model_name: of the clipgpt model, for people.
    """

    name: str
    engine: BatchedEngine | None
    text_tower: BatchedTower | None
    clipgpt_weight: float | None
    hub_correction: bool
    minus_words: bool
    collections: dict[str, Collection]
    has_metadata: bool
    index_file: Path | None
    index_stamp: str | None
    results_cache: ResultCache
    shown_images: ShownImages
    clip_name: str | None = None
    model_name: str | None = None

    @property
    def items(self) -> Collection:
        """The collection whose embeddings items are captioned and compared by: images, or texts without them."""
        return next(iter(self.collections.values()))

    @property
    def encodes(self) -> bool:
        """Whether CLIP-GPT encodes queries here: the index has a model, and not one that only captions."""
        return self.engine is not None and self.engine.encodes

    @property
    def weight(self) -> float:
        """The weight of CLIP-GPT in a text, unless the request sets it; without CLIP's weights it is alone."""
        if self.engine is None or self.model is None:
            return 1.0
        return self.engine.clipgpt_weight if self.clipgpt_weight is None else self.clipgpt_weight

    @property
    def encoder(self) -> Encoder | None:
        """What encodes texts, unless the request sets it; None: nothing does."""
        if not self.encodes:
            return None if self.model is None else "text_tower"
        return "clipgpt" if self.weight == 1 else "both"

    def require_engine(self, field: str) -> BatchedEngine:
        """The engine.

        Raises:
            InputError: the index has no clipgpt model; ``field`` is the request field that needs it.
        """
        if self.engine is None:
            message = f"index {self.name!r} has no clipgpt model: use another index, or start the back end with a model"
            raise InputError(field, message)
        return self.engine

    def require_clip(self, field: str) -> Any:
        """CLIP's own weights.

        Raises:
            InputError: the server runs without them; ``field`` is the request field that needs them.
        """
        if self.model is None:
            raise InputError(field, "needs CLIP's own weights, and this server runs with --load_clip False")
        return self.model

    def metadata_of(self, ids: Ids) -> list[dict[str, Any]]:
        """The metadata of items, as upstream's provider returns them."""
        return self.items.metadata(ids, self.columns_to_return) if self.has_metadata else [{} for _ in ids]

    def collection_of(self, modality: str) -> Collection:
        """The collection of images or of texts.

        Raises:
            InputError: there is no such collection.
        """
        if modality not in self.collections:
            raise InputError("modality", f"index {self.name!r} has no {modality} index: use the other modality")
        return self.collections[modality]


def pick_resource(resources: dict[str, ClipGptResource], name: str | None) -> ClipGptResource:
    """The index of a request; without a name, the first.

    Raises:
        NotFoundError: no index has this name.
    """
    if name is None:
        return next(iter(resources.values()))
    if name not in resources:
        raise NotFoundError("indice_name", f"no index is named {name!r}; the indices are: {', '.join(resources)}")
    return resources[name]
