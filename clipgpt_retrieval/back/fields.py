"""The fields service: what filters may name, and the values that there are."""

import threading

from flask import request
from flask_restful import Resource

from clipgpt_retrieval.back.indices import Indices
from clipgpt_retrieval.back.json_values import json_value
from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.responses import FieldsResponse, MetadataField
from clipgpt_retrieval.back.schema import FieldsRequest, validated
from clipgpt_retrieval.errors import BusyError
from clipgpt_retrieval.index.collection import Collection
from clipgpt_retrieval.index.field_summary import FieldSummary

RETRY_SECONDS = 5


class SummaryCache:
    """The summaries of collections as they are now, each computed once, one at a time."""

    def __init__(self) -> None:
        self._summaries: dict[str, tuple[Collection, int, list[FieldSummary]]] = {}
        self._computing = threading.Lock()

    def get(self, name: str, collection: Collection) -> list[FieldSummary]:
        """The summaries of a collection, which replaces any other of this name.

        Raises:
            BusyError: another request computes some, which may take minutes for a large collection.
        """
        known = self._summaries.get(name)
        if known is not None and known[0] is collection and known[1] == collection.revision:
            return known[2]
        if not self._computing.acquire(blocking=False):
            raise BusyError("another request reads the fields, retry later", retry_after=RETRY_SECONDS)
        try:
            revision = collection.revision
            summaries = collection.summaries()
            self._summaries[name] = (collection, revision, summaries)
        finally:
            self._computing.release()
        return summaries


class FieldsService(Resource):
    """``GET /fields-service``."""

    def __init__(self, *, clip_resources: Indices, summaries: SummaryCache) -> None:
        super().__init__()
        self._clip_resources = clip_resources.current
        self._summaries = summaries

    def get(self) -> FieldsResponse:
        """Returns ``{"indice_name", "fields"}``; see :class:`MetadataField`."""
        params = validated(FieldsRequest, request.args.to_dict())
        resource = pick_resource(self._clip_resources, params.indice_name)
        summaries = self._summaries.get(resource.name, resource.items)
        return {"indice_name": resource.name, "fields": [_described(summary) for summary in summaries]}


def _described(summary: FieldSummary) -> MetadataField:
    field = summary.field
    return {
        "name": field.name,
        "type": field.type,
        "item_type": field.item_type,
        "ops": list(field.ops),
        "minimum": json_value(summary.minimum),
        "maximum": json_value(summary.maximum),
        "values": [{"value": json_value(value), "count": count} for value, count in summary.values],
        "missing": summary.missing,
        "counted": summary.counted,
    }
