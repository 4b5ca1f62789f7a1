"""The OpenAPI description, generated from the request and response types, and a page that shows it."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from flask import Flask, render_template
from pydantic import TypeAdapter

from clipgpt_retrieval.back.export import PARQUET
from clipgpt_retrieval.back.health import OPEN_PATHS
from clipgpt_retrieval.back.responses import (
    CaptionedItem,
    EncodeResponse,
    ErrorResponse,
    ExploreResponse,
    FieldsResponse,
    ItemMetadata,
    ScoreResponse,
    SearchResult,
    StatusResponse,
)
from clipgpt_retrieval.back.schema import (
    CaptionRequest,
    EncodeRequest,
    ExploreRequest,
    ExportRequest,
    FieldsRequest,
    KnnRequest,
    MetadataRequest,
    ScoreRequest,
)

_REFS = "#/components/schemas/{model}"


@dataclass(frozen=True)
class Operation:
    """One operation of the API.

    Attributes:
        path: of its URL.
        summary: one sentence.
        response: type of the JSON, or the media type if it is not JSON.
        body: type of the JSON of a POST; None for a GET.
        query: type of the query string.
    """

    path: str
    summary: str
    response: Any
    body: Any = None
    query: Any = None

    @property
    def method(self) -> str:
        """The HTTP method in lower case."""
        return "get" if self.body is None else "post"


OPERATIONS = (
    Operation(
        "/knn-service",
        "Search an index by text, image, embedding or segments; by several at once, which returns a list for each.",
        list[SearchResult] | list[list[SearchResult]],
        KnnRequest,
    ),
    Operation("/caption-service", "Caption items, embeddings or an image.", list[CaptionedItem], CaptionRequest),
    Operation("/encode-service", "Encode a text or segments, and caption the result.", EncodeResponse, EncodeRequest),
    Operation("/score-service", "How well texts fit items or embeddings.", ScoreResponse, ScoreRequest),
    Operation("/explore-service", "The captioned clusters of an index.", ExploreResponse, query=ExploreRequest),
    Operation("/fields-service", "The metadata fields that filters may name.", FieldsResponse, query=FieldsRequest),
    Operation("/export-service", "Items as a Parquet file, with their embeddings.", PARQUET, ExportRequest),
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
    """Adds ``/openapi.json`` and ``/docs`` to an app whose limits are set."""
    with app.app_context():
        document = describe(needs_key=needs_key)
    app.add_url_rule("/openapi.json", "openapi", lambda: document)
    app.add_url_rule("/docs", "docs", lambda: render_template("docs.html", document=document, type_name=_type_name))


def describe(*, needs_key: bool) -> dict[str, Any]:
    """The services as an OpenAPI 3.1 document.

    Args:
        needs_key: requests must carry the API key.
    """
    requests = [op.body for op in OPERATIONS if op.body is not None]
    responses = [op.response for op in OPERATIONS if not _is_text(op.response)]
    adapters: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = []
    adapters += [(kind.__name__, "validation", TypeAdapter(kind)) for kind in requests]
    adapters += [(str(kind), "serialization", TypeAdapter(kind)) for kind in (*responses, ErrorResponse)]
    schemas, definitions = TypeAdapter.json_schemas(adapters, ref_template=_REFS)
    of_type = {name: schema for (name, _), schema in schemas.items()}
    components: dict[str, Any] = {"schemas": definitions.get("$defs", {})}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "clip-retrieval with CLIP-GPT",
            "version": version("clipgpt-retrieval"),
            "description": "Search an index of CLIP embeddings with CLIP-GPT, and caption the results.",
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
    media = op.response if _is_text(op.response) else "application/json"
    schema = {"type": "string"} if _is_text(op.response) else of_type[str(op.response)]
    error = {"content": {"application/json": {"schema": of_type[str(ErrorResponse)]}}}
    described: dict[str, Any] = {
        "summary": op.summary,
        "operationId": op.path.strip("/").replace(".", "-"),
        "responses": {
            "200": {"description": "The response.", "content": {media: {"schema": schema}}},
            "4XX": {"description": "Invalid request.", **error},
            "5XX": {"description": "Overloaded, shutting down, or an internal error.", **error},
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


def _is_text(response: Any) -> bool:
    return isinstance(response, str)


def _type_name(schema: dict[str, Any]) -> str:
    """A short name of a schema, for the page."""
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
    shown = [f"{word} {schema[keyword]}" for keyword, word in bounds.items() if keyword in schema]
    return f"{name} ({', '.join(shown)})" if shown else name
