"""The explore service: what is in an index."""

import threading
from collections import OrderedDict
from typing import Any

from flask import request

from clipgpt_retrieval.back.batching import check_deadline
from clipgpt_retrieval.back.images import ImageReader
from clipgpt_retrieval.back.resources import ClipGptResource, pick_resource
from clipgpt_retrieval.back.schema import ExploreRequest, validated
from clipgpt_retrieval.back.services import Service
from clipgpt_retrieval.explore.contents import Contents

MAX_KEPT = 8
"""Tables of contents kept in memory; others are read again from the cache beside their index."""


class ContentsCache:
    """The tables of contents that were asked for last, one object for each, so that it computes a level once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], Contents] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, resource: ClipGptResource, num_clusters: int) -> Contents:
        """The table of contents of an index at a width."""
        key = (resource.name, num_clusters)
        with self._lock:
            if key not in self._kept:
                engine = resource.require_engine("indice_name")
                self._kept[key] = Contents(resource.items, resource.index_file, engine, num_clusters)
            self._kept.move_to_end(key)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]


class ExploreService(Service):
    """``GET /explore-service``."""

    def __init__(
        self, *, clip_resources: dict[str, ClipGptResource], images: ImageReader, contents_cache: ContentsCache
    ) -> None:
        super().__init__(clip_resources=clip_resources, images=images)
        self._contents_cache = contents_cache

    def get(self) -> dict[str, Any]:
        """Answers the clusters of the index, or of the cluster that is opened; see `Contents.open`."""
        params = validated(ExploreRequest, request.args.to_dict())
        resource = pick_resource(self.clip_resources, params.indice_name)
        contents = self._contents_cache.get(resource, params.num_clusters)
        return {"indice_name": resource.name, **contents.open(params.cluster, yield_point=check_deadline)}
