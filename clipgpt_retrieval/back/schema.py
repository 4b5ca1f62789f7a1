"""What each endpoint accepts, and how a request that is not that is refused."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from flask import request
from pydantic import (
    AfterValidator,
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
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from clipgpt_retrieval.back.limits import current_limits
from clipgpt_retrieval.errors import InputError, TooLargeError
from clipgpt_retrieval.explore.options import DEFAULT_NUM_CLUSTERS, MAX_NUM_CLUSTERS, MIN_NUM_CLUSTERS


@dataclass(frozen=True)
class AtMost:
    """Bounds a field by one of the app's `Limits`: a number itself, the length of anything else.

    Args:
        limit: the name of the limit.
        keyword: JSON Schema's word for such a bound; the description of the services puts the number there.
    """

    limit: str
    keyword: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), self.keyword: getattr(current_limits(), self.limit)}

    def _check(self, value: Any) -> Any:
        size = value if isinstance(value, int) else len(value)
        bound = getattr(current_limits(), self.limit)
        if size > bound:
            what = "is" if isinstance(value, int) else "has"
            raise ValueError(f"{what} {size}, this server takes at most {bound}")
        return value


def _encodable(text: str) -> str:
    # JSON can spell half a surrogate pair, and tokenizers fail on it.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has characters that are not valid Unicode") from None
    return text


Text = Annotated[str, AfterValidator(_encodable), AtMost("max_text_length", "maxLength")]
Segments = Annotated[list["Segment"], Field(min_length=1), AtMost("max_segments", "maxItems")]
Ids = Annotated[list[int], AtMost("max_items", "maxItems")]
# What is larger overflows in float32 once it is squared; an embedding has about norm 1.
Component = Annotated[FiniteFloat, Field(ge=-1e15, le=1e15)]
Embedding = Annotated[list[Component], Field(min_length=1)]


class Request(BaseModel):
    """A request body. A field that is null or an empty string is absent: stock clients send both so."""

    @model_validator(mode="before")
    @classmethod
    def _without_unset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise InputError("body", "must be a JSON object")
        return {key: value for key, value in data.items() if value is not None and value != ""}

    def _one_of(self, *names: str) -> None:
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"these were given: {', '.join(given)}" if given else "none was given, or an empty one"
            raise InputError(names[0] if not given else given[1], f"give one of {', '.join(names)}; {found}")


class Segment(BaseModel):
    """One piece of an interleaved query: text, or an image as base64, url, embedding or item id."""

    model_config = ConfigDict(extra="forbid")

    text: Text | None = None
    image: str | None = None
    image_url: str | None = None
    embedding: Embedding | None = None
    id: int | None = None

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise InputError("segments", f"each segment has one of {', '.join(type(self).model_fields)}")
        return self


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
    caption_results: Annotated[int, Field(ge=0), AtMost("max_items", "maximum")] = 0
    min_similarity: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _has_one_query(self) -> Self:
        self._one_of("text", "image", "image_url", "embedding_input", "segments")
        if self.use_mclip and self.use_clipgpt:
            raise InputError("use_mclip", "and use_clipgpt exclude each other: set one of them")
        if self.min_similarity is not None and self.modality != "image":
            raise InputError("min_similarity", "is about images: ask with modality image, or without it")
        return self


class CaptionRequest(IndexRequest):
    """``POST /caption-service``."""

    ids: Ids | None = None
    embeddings: Annotated[list[Embedding], AtMost("max_items", "maxItems")] | None = None
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


class ExploreRequest(IndexRequest):
    """``GET /explore-service``: fields of the query string."""

    cluster: str | None = None
    num_clusters: Annotated[int, Field(ge=MIN_NUM_CLUSTERS, le=MAX_NUM_CLUSTERS)] = DEFAULT_NUM_CLUSTERS


AnyRequest = TypeVar("AnyRequest", bound=Request)


def parse_request(kind: type[AnyRequest]) -> AnyRequest:
    """The body of the current Flask request as ``kind``.

    Raises:
        InputError: not JSON, or not what ``kind`` describes; names the first field at fault.
        TooLargeError: more bytes than the app takes.
    """
    try:
        body = request.get_json(force=True)
    except RequestEntityTooLarge as error:
        raise TooLargeError("body", "has more bytes than this server takes") from error
    except (BadRequest, RecursionError) as error:
        raise InputError("body", "is not valid JSON") from error
    return validated(kind, body)


def validated(kind: type[AnyRequest], body: Any) -> AnyRequest:
    """What a request holds as ``kind``.

    Raises:
        InputError: not what ``kind`` describes; names the first field at fault.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _first_fault(error) from error


def _first_fault(error: ValidationError) -> InputError:
    fault = error.errors(include_url=False, include_input=False)[0]
    ours = fault.get("ctx", {}).get("error")
    if isinstance(ours, InputError):
        return ours
    message = str(ours) if ours else fault["msg"][0].lower() + fault["msg"][1:]
    return InputError(".".join(map(str, fault["loc"])) or "body", message)
