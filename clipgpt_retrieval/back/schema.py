"""The requests of each endpoint, validated by pydantic."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema
from typing_extensions import Self

from clipgpt_retrieval.back.body import read_json
from clipgpt_retrieval.back.limits import current_limits
from clipgpt_retrieval.engine.weighted import MAX_WEIGHT
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.explore.options import DEFAULT_NUM_CLUSTERS, MAX_NUM_CLUSTERS, MIN_NUM_CLUSTERS
from clipgpt_retrieval.index.filters import MAX_CONDITIONS, Op


@dataclass(frozen=True)
class AtMost:
    """Limits a field by one of the app's `AppLimits`: the value of a number, the length of anything else.

    Lengths are checked before their items are.

    Args:
        limit: the name of the limit.
        keyword: of JSON Schema for such a limit, under which the OpenAPI description has the number.
    """

    limit: str
    keyword: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if self.keyword == "maximum":
            return core_schema.no_info_after_validator_function(self._check_value, handler(source))
        return core_schema.no_info_before_validator_function(self._check_length, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), self.keyword: getattr(current_limits(), self.limit)}

    def _check_value(self, value: Any) -> Any:
        return self._refuse_above(value, value, "is")

    def _check_length(self, value: Any) -> Any:
        length = len(value) if isinstance(value, (str, list)) else 0
        return self._refuse_above(value, length, "has length")

    def _refuse_above(self, value: Any, size: int, what: str) -> Any:
        bound = getattr(current_limits(), self.limit)
        if size > bound:
            raise ValueError(f"{what} {size}, the limit of this server is {bound}")
        return value


Text = Annotated[str, AtMost("max_text_length", "maxLength")]


class _FewImages:
    """Limits the segments that are images to decode, those of all queries together."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        limit = current_limits().max_query_images
        return {**handler(schema), "description": f"At most {limit} of them with image or image_url."}

    def _check(self, parts: list[Any]) -> list[Any]:
        segments = [
            segment for part in parts for segment in (part.segments or [] if isinstance(part, Query) else [part])
        ]
        count = sum(segment.image is not None or segment.image_url is not None for segment in segments)
        limit = current_limits().max_query_images
        if count > limit:
            raise ValueError(f"{count} are images, the limit of this server is {limit}")
        return parts


Segments = Annotated[
    list["Segment"], Field(min_length=1, fail_fast=True), AtMost("max_segments", "maxItems"), _FewImages()
]
Ids = Annotated[list[int], Field(fail_fast=True), AtMost("max_items", "maxItems")]
# The square of a larger number overflows float32.
Component = Annotated[FiniteFloat, Field(ge=-1e15, le=1e15)]
Embedding = Annotated[list[Component], Field(min_length=1, fail_fast=True), AtMost("dimension", "maxItems")]


class Request(BaseModel):
    """A request body. A field that is null or an empty string counts as absent: stock clients send both."""

    @model_validator(mode="before")
    @classmethod
    def _without_unset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise InputError("body", "must be a JSON object")
        return {key: value for key, value in data.items() if value is not None and value != ""}

    def _one_of(self, *names: str) -> None:
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"got {', '.join(given)}" if given else "got none, or an empty one"
            message = f"exactly one of {', '.join(names)} is required; {found}"
            raise InputError(given[1] if given else names[0], message)


class Segment(BaseModel):
    """One part of an interleaved query: text, or an image as base64, URL, embedding or item id.

    A part with a ``weight`` is encoded apart and added by its weight; negative: away from it.
    """

    model_config = ConfigDict(extra="forbid")

    text: Text | None = None
    image: str | None = None
    image_url: str | None = None
    embedding: Embedding | None = None
    id: int | None = None
    weight: Annotated[FiniteFloat, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)] = 1.0

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        names = [name for name in type(self).model_fields if name != "weight"]
        if sum(getattr(self, name) is not None for name in names) != 1:
            raise InputError("segments", f"each segment must have exactly one of {', '.join(names)}")
        return self


class Query(BaseModel):
    """One of several queries: a text, segments or an embedding."""

    model_config = ConfigDict(extra="forbid")

    text: Text | None = None
    segments: Segments | None = None
    embedding_input: Embedding | None = None

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        given = [name for name, value in self if value is not None and value != ""]
        if len(given) != 1:
            raise InputError("queries", f"each query must have exactly one of {', '.join(type(self).model_fields)}")
        return self


Queries = Annotated[list[Query], Field(min_length=1, fail_fast=True), AtMost("max_queries", "maxItems"), _FewImages()]


class FilterCondition(BaseModel):
    """A condition on the metadata of results; the operator ``exists`` needs no value."""

    model_config = ConfigDict(extra="forbid")

    field: str
    op: Op
    value: Any = None


class IndexRequest(Request):
    """A request to one index; without a name, the first."""

    indice_name: str | None = None


class MetadataRequest(IndexRequest):
    """``POST /metadata``."""

    ids: Ids


class EncodeRequest(IndexRequest):
    """``POST /encode-service``."""

    text: Text | None = None
    segments: Segments | None = None
    use_clipgpt: bool | None = None
    clipgpt_weight: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _has_one_query(self) -> Self:
        self._one_of("text", "segments")
        return self


class KnnRequest(IndexRequest):
    """``POST /knn-service``: clip-retrieval's fields, then ours."""

    text: Text | None = None
    image: str | None = None
    image_url: str | None = None
    embedding_input: Embedding | None = None
    modality: Literal["image", "text"] = "image"
    num_images: Annotated[int, Field(ge=1), AtMost("max_result_ids", "maximum")] = 100
    num_result_ids: Annotated[int, Field(ge=1)] | None = None
    use_mclip: bool = False
    deduplicate: bool = False
    use_safety_model: bool = False
    use_violence_detector: bool = False
    aesthetic_score: int | None = None
    aesthetic_weight: FiniteFloat | None = None

    segments: Segments | None = None
    use_clipgpt: bool | None = None
    clipgpt_weight: Annotated[float, Field(ge=0, le=1)] | None = None
    hub_correction: bool | None = None
    caption_results: Annotated[int, Field(ge=0), AtMost("max_items", "maximum")] = 0
    min_similarity: Annotated[float, Field(ge=0, le=1)] | None = None
    filter: Annotated[list[FilterCondition], Field(max_length=MAX_CONDITIONS)] = []
    embeddings: bool = False
    queries: Queries | None = None

    def each_query(self) -> list["KnnRequest"]:
        """A request for each of the queries, or this one."""
        if self.queries is None:
            return [self]
        fields = Query.model_fields
        return [self.model_copy(update={name: getattr(query, name) for name in fields}) for query in self.queries]

    @model_validator(mode="after")
    def _has_one_query(self) -> Self:
        self._one_of("text", "image", "image_url", "embedding_input", "segments", "queries")
        if self.use_mclip and self.use_clipgpt:
            raise InputError("use_mclip", "cannot be combined with use_clipgpt")
        if self.min_similarity is not None and self.modality != "image":
            raise InputError("min_similarity", "applies to modality image only")
        return self


class CaptionRequest(IndexRequest):
    """``POST /caption-service``."""

    ids: Ids | None = None
    embeddings: Annotated[list[Embedding], Field(fail_fast=True), AtMost("max_items", "maxItems")] | None = None
    image: str | None = None
    image_url: str | None = None
    num_captions: Annotated[int, Field(ge=1, le=20)] = 1
    num_beams: Annotated[int, Field(ge=1, le=20)] = 1
    max_new_tokens: Annotated[int, Field(ge=1, le=200)] = 40
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        self._one_of("ids", "embeddings", "image", "image_url")
        return self


class ScoreRequest(IndexRequest):
    """``POST /score-service``."""

    texts: Annotated[list[Text], Field(min_length=1, fail_fast=True), AtMost("max_items", "maxItems")]
    ids: Ids | None = None
    embeddings: Annotated[list[Embedding], Field(fail_fast=True), AtMost("max_items", "maxItems")] | None = None
    logprobs: bool = True
    use_clipgpt: bool | None = None
    clipgpt_weight: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        self._one_of("ids", "embeddings")
        scores, limit = len(self.texts) * len(self.ids or self.embeddings or []), current_limits().max_items
        if scores > limit:
            raise InputError("texts", f"times items are {scores} scores, the limit of this server is {limit}")
        return self


class FieldsRequest(IndexRequest):
    """``GET /fields-service``: fields of the query string."""


class ExportRequest(IndexRequest):
    """``POST /export-service``."""

    ids: Ids
    captions: bool = False


class ExploreRequest(IndexRequest):
    """``GET /explore-service``: fields of the query string."""

    cluster: str | None = None
    ids: Annotated[str, Field(max_length=20_000)] | None = None
    num_clusters: Annotated[int, Field(ge=MIN_NUM_CLUSTERS, le=MAX_NUM_CLUSTERS)] = DEFAULT_NUM_CLUSTERS


AnyRequest = TypeVar("AnyRequest", bound=Request)


def parse_request(kind: type[AnyRequest]) -> AnyRequest:
    """The body of the current Flask request as ``kind``.

    Raises:
        InputError: not JSON, or not a valid ``kind``; names the first invalid field.
        TooLargeError: larger than the app's limits.
    """
    return validated(kind, read_json())


def validated(kind: type[AnyRequest], body: Any) -> AnyRequest:
    """A decoded request as ``kind``.

    Raises:
        InputError: not a valid ``kind``; names the first invalid field.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _first_error(error) from error


def _first_error(error: ValidationError) -> InputError:
    first = error.errors(include_url=False, include_input=False)[0]
    ours = first.get("ctx", {}).get("error")
    if isinstance(ours, InputError):
        return ours
    message = str(ours) if ours else first["msg"][0].lower() + first["msg"][1:]
    return InputError(".".join(map(str, first["loc"])) or "body", message)
