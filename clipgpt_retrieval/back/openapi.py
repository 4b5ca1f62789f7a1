"""The description of the services, made of the types that check the requests: as OpenAPI, and as a page to read."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from flask import Flask, render_template
from pydantic import TypeAdapter

from clipgpt_retrieval.back.auth import OPEN_PATHS
from clipgpt_retrieval.back.responses import (
    CaptionedItem,
    EncodeResponse,
    ErrorResponse,
    ExploreResponse,
    ItemMetadata,
    SearchResult,
    StatusResponse,
)
from clipgpt_retrieval.back.schema import CaptionRequest, EncodeRequest, ExploreRequest, KnnRequest, MetadataRequest

_REFS = "#/components/schemas/{model}"


@dataclass(frozen=True)
class Operation:
    """One thing to ask the server.

    Attributes:
        path: where.
        summary: what it does.
        answer: the type of the JSON that comes back, or the media type of what is not JSON.
        body: the type of the JSON to post; without it the operation is a GET.
        query: the type of the fields of the query string.
    """

    path: str
    summary: str
    answer: Any
    body: Any = None
    query: Any = None

    @property
    def method(self) -> str:
        """The HTTP method, in small letters."""
        return "get" if self.body is None else "post"


OPERATIONS = (
    Operation("/knn-service", "Search an index by text, image, embedding or segments.", list[SearchResult], KnnRequest),
    Operation("/caption-service", "Caption items, embeddings or an image.", list[CaptionedItem], CaptionRequest),
    Operation("/encode-service", "Encode a text or segments, and caption the result.", EncodeResponse, EncodeRequest),
    Operation("/explore-service", "The captioned clusters of an index.", ExploreResponse, query=ExploreRequest),
    Operation("/metadata", "The metadata of items.", list[ItemMetadata], MetadataRequest),
    Operation("/indices-list", "The names of the indices.", list[str]),
    Operation("/health", "Whether the server process responds.", StatusResponse),
    Operation("/ready", "Whether the server accepts requests; 503 while it shuts down.", StatusResponse),
    Operation("/metrics", "Prometheus metrics.", "text/plain"),
    Operation("/metrics-summary", "Mean time of each step, as plain text.", "text/plain"),
    Operation("/openapi.json", "This description.", dict[str, Any]),
    Operation("/docs", "This description as a page.", "text/html"),
)


def add_description(app: Flask, *, needs_key: bool) -> None:
    """Adds ``/openapi.json`` and ``/docs`` to an app that has its limits."""
    with app.app_context():
        document = describe(needs_key=needs_key)
    app.add_url_rule("/openapi.json", "openapi", lambda: document)
    app.add_url_rule("/docs", "docs", lambda: render_template("docs.html", document=document, type_name=_type_name))


def describe(*, needs_key: bool) -> dict[str, Any]:
    """The services as an OpenAPI 3.1 document.

    Args:
        needs_key: requests must carry the api key.
    """
    requests = [op.body for op in OPERATIONS if op.body is not None]
    answers = [op.answer for op in OPERATIONS if not _is_text(op.answer)]
    adapters: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = []
    adapters += [(kind.__name__, "validation", TypeAdapter(kind)) for kind in requests]
    adapters += [(str(kind), "serialization", TypeAdapter(kind)) for kind in (*answers, ErrorResponse)]
    schemas, definitions = TypeAdapter.json_schemas(adapters, ref_template=_REFS)
    of_type = {name: schema for (name, _), schema in schemas.items()}
    components: dict[str, Any] = {"schemas": definitions.get("$defs", {})}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "clip-retrieval with CLIP-GPT",
            "version": version("clipgpt-retrieval"),
            "description": "Search an index of CLIP embeddings with CLIP-GPT, and caption what comes back.",
        },
        "paths": {op.path: {op.method: _operation(op, of_type, needs_key)} for op in OPERATIONS},
        "components": components,
    }
    if needs_key:
        components["securitySchemes"] = {
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
            "basic": {"type": "http", "scheme": "basic"},
        }
        document["security"] = [{name: []} for name in components["securitySchemes"]]
    return document


def _operation(op: Operation, of_type: dict[str, Any], needs_key: bool) -> dict[str, Any]:
    media = op.answer if _is_text(op.answer) else "application/json"
    schema = {"type": "string"} if _is_text(op.answer) else of_type[str(op.answer)]
    failure = {"content": {"application/json": {"schema": of_type[str(ErrorResponse)]}}}
    described: dict[str, Any] = {
        "summary": op.summary,
        "operationId": op.path.strip("/").replace(".", "-"),
        "responses": {
            "200": {"description": "The answer.", "content": {media: {"schema": schema}}},
            "4XX": {"description": "Refused: what is wrong with the request.", **failure},
            "5XX": {"description": "Too busy, about to stop, or failed.", **failure},
        },
    }
    if op.body is not None:
        content = {"application/json": {"schema": of_type[op.body.__name__]}}
        described["requestBody"] = {"required": True, "content": content}
    if op.query is not None:
        described["parameters"] = _parameters(op.query)
    if needs_key and op.path in OPEN_PATHS:
        described["security"] = []
    return described


def _parameters(query: Any) -> list[dict[str, Any]]:
    schema = query.model_json_schema(ref_template=_REFS)
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]


def _is_text(answer: Any) -> bool:
    return isinstance(answer, str)


def _type_name(schema: dict[str, Any]) -> str:
    """A schema in a few words, for the page."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_type_name(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    name = str(schema.get("type", "anything"))
    if name == "array":
        name = f"list of {_type_name(schema['items'])}"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "maxLength": "length ≤", "maxItems": "at most"}
    told = [f"{word} {schema[keyword]}" for keyword, word in bounds.items() if keyword in schema]
    return f"{name} ({', '.join(told)})" if told else name
