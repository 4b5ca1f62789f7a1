"""The responses of the services as types, from which the OpenAPI description is generated."""

from typing import Any, Literal

from pydantic import ConfigDict, with_config
from typing_extensions import NotRequired, TypedDict

from clipgpt_retrieval.explore.contents import Cluster

Encoder = Literal["clipgpt", "text_tower", "both", "image"]
"""What encodes a query: CLIP-GPT, CLIP's text tower, or both; or CLIP's image tower."""


class ErrorDetail(TypedDict):
    """An error: the request field that causes it, and one sentence."""

    field: str
    message: str


class ErrorResponse(TypedDict):
    """The response to a request that was refused or failed."""

    error: ErrorDetail


class StatusResponse(TypedDict):
    """The status of the server; ``/ready`` adds the indices, what encodes the texts of each, and in which types."""

    status: str
    indices: NotRequired[list[str]]
    encoders: NotRequired[dict[str, Encoder | None]]
    precisions: NotRequired[dict[str, str]]


@with_config(ConfigDict(extra="allow"))
class SearchResult(TypedDict):
    """A result of a query, with the columns of the index's metadata.

    Where hubs are corrected, the first results are in the order of their ``score``: ``similarity`` minus the penalty
    of the image.
    """

    id: int
    similarity: float
    score: NotRequired[float]
    clipgpt_caption: NotRequired[str]
    embedding: NotRequired[list[float]]


class FieldValue(TypedDict):
    """A frequent value of a field, and the counted items that have it."""

    value: Any
    count: int


class MetadataField(TypedDict):
    """A field that a filter may name.

    ``type`` is integer, number, boolean, text, time, list (of ``item_type``) or other; ``ops`` are the operators that a
    condition on it may have. ``minimum`` and ``maximum`` are null where values have no range. Among ``counted`` items
    ``missing`` have no value, and ``values`` are the most frequent ones.
    """

    name: str
    type: str
    item_type: str | None
    ops: list[str]
    minimum: Any
    maximum: Any
    values: list[FieldValue]
    missing: int
    counted: int


class FieldsResponse(TypedDict):
    """The fields of an index."""

    indice_name: str
    fields: list[MetadataField]


class ItemMetadata(TypedDict):
    """The metadata of an item."""

    id: int
    metadata: dict[str, Any]


class ScoredCaption(TypedDict):
    """A caption and its log-probability."""

    text: str
    logprob: float


class CaptionedItem(TypedDict):
    """The captions of an item; ids count from 0 where the request has none."""

    id: int
    captions: list[ScoredCaption]


class Match(TypedDict):
    """The similarity of the best hit; below the threshold the index has no close match."""

    similarity: float
    threshold: float


class EncodeResponse(TypedDict):
    """The embeddings of a query; without CLIP-GPT those fields are null that may be.

    ``embedding`` is the query embedding, ``image_embedding`` the estimate of the image's own, ``caption`` its caption,
    ``min_similarity`` a value for the field of ``/knn-service``: the cosine to ``image_embedding`` that matches exceed.
    ``match`` states whether the index has a close match; null for queries that are not a text, and for models that were
    not evaluated. ``added``: the embeddings of the query's segments were added, as the model was not trained on such
    queries. ``encoder``: what the query embedding is of; ``image`` for a lone image without CLIP-GPT.
    ``unknown_words``: the words of the query that the model was not trained on, as they are written; always empty for
    models that know the language, which declare no vocabulary.
    """

    embedding: list[float]
    image_embedding: list[float] | None
    caption: str | None
    min_similarity: float | None
    match: Match | None
    added: bool
    encoder: Encoder
    unknown_words: list[str]


class ScoreResponse(TypedDict):
    """How well texts fit items: a list for each item, with a number for each text.

    ``similarities`` are cosines of the items' embeddings to the texts' query embeddings. ``logprobs`` are the natural
    logarithms of the probability that CLIP-GPT captions the item so; null without a clipgpt model.
    """

    similarities: list[list[float]]
    logprobs: list[list[float]] | None


class Ancestor(TypedDict):
    """A cluster on the path from the root to the open cluster."""

    id: str
    caption: str


class ExploreResponse(TypedDict):
    """The clusters of an index, or of the open cluster; ``found``: where the ids of the request are."""

    indice_name: str
    num_items: int
    cluster: str | None
    trail: list[Ancestor]
    clusters: list[Cluster]
    example_ids: list[int]
    found: NotRequired[dict[str, list[int]]]
