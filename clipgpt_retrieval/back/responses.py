"""What each service answers, as types: the description of the services is made of them."""

from typing import Any

from pydantic import ConfigDict, with_config
from typing_extensions import NotRequired, TypedDict

from clipgpt_retrieval.explore.contents import Cluster


class ErrorDetail(TypedDict):
    """What is wrong with a request: the field at fault, and one sentence."""

    field: str
    message: str


class ErrorResponse(TypedDict):
    """The answer to a request that was refused or went wrong."""

    error: ErrorDetail


class StatusResponse(TypedDict):
    """Whether the server is well; a server that is ready names its indices."""

    status: str
    indices: NotRequired[list[str]]


@with_config(ConfigDict(extra="allow"))
class SearchResult(TypedDict):
    """A result of a query, with the columns of the index's metadata beside these."""

    id: int
    similarity: float
    clipgpt_caption: NotRequired[str]


class ItemMetadata(TypedDict):
    """The metadata of an item."""

    id: int
    metadata: dict[str, Any]


class ScoredCaption(TypedDict):
    """A caption and its log-probability."""

    text: str
    logprob: float


class CaptionedItem(TypedDict):
    """The captions of an item; what has no id is counted from 0."""

    id: int
    captions: list[ScoredCaption]


class EncodeResponse(TypedDict):
    """The embeddings of a query; all but the first are null where CLIP-GPT takes no part.

    ``embedding`` is the one to search with, ``image_embedding`` the guess at the image, ``caption`` that guess read
    back, ``min_similarity`` the cosine to it below which nothing matches.
    """

    embedding: list[float]
    image_embedding: list[float] | None
    caption: str | None
    min_similarity: float | None


class Ancestor(TypedDict):
    """A cluster on the way from the root to the one that is open."""

    id: str
    caption: str


class ExploreResponse(TypedDict):
    """The clusters of an index, or of the cluster that is open."""

    indice_name: str
    num_items: int
    cluster: str | None
    trail: list[Ancestor]
    clusters: list[Cluster]
    example_ids: list[int]
