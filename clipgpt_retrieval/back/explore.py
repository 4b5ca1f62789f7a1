"""The explore service: captioned clusters of an index."""

import threading
from collections import OrderedDict
from typing import Any

from flask import request
from flask_restful import Resource

from clipgpt_retrieval.back.batching import check_deadline
from clipgpt_retrieval.back.resources import ClipGptResource, pick_resource
from clipgpt_retrieval.back.schema import ExploreRequest, validated
from clipgpt_retrieval.explore.contents import Contents

MAX_CONTENTS = 8
"""Tables of contents in memory; others are read again from the cache beside their index."""


class ContentsCache:
    """The tables of contents used last: one object for each, so that a level is computed once."""

    def __init__(self) -> None:
        self._contents: OrderedDict[tuple[str, int], Contents] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, resource: ClipGptResource, num_clusters: int) -> Contents:
        """The table of contents of an index with up to ``num_clusters`` clusters on each level."""
        key = (resource.name, num_clusters)
        with self._lock:
            if key not in self._contents:
                engine = resource.require_engine("indice_name")
                self._contents[key] = Contents(resource.items, resource.index_file, engine, num_clusters)
            self._contents.move_to_end(key)
            if len(self._contents) > MAX_CONTENTS:
                self._contents.popitem(last=False)
            return self._contents[key]


class ExploreService(Resource):
    """``GET /explore-service``."""

    def __init__(self, *, clip_resources: dict[str, ClipGptResource], contents_cache: ContentsCache) -> None:
        super().__init__()
        self._clip_resources = clip_resources
        self._contents_cache = contents_cache

    def get(self) -> dict[str, Any]:
        """Returns the clusters of the index, or of the given cluster; see `Contents.open`."""
        params = validated(ExploreRequest, request.args.to_dict())
        resource = pick_resource(self._clip_resources, params.indice_name)
        contents = self._contents_cache.get(resource, params.num_clusters)
        return {"indice_name": resource.name, **contents.open(params.cluster, yield_point=check_deadline)}
