"""The explore service: captioned clusters of an index."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from flask import request
from flask_restful import Resource

from clipgpt_retrieval.back.batching import check_deadline
from clipgpt_retrieval.back.indices import Indices
from clipgpt_retrieval.back.resources import ClipGptResource, pick_resource
from clipgpt_retrieval.back.schema import ExploreRequest, validated
from clipgpt_retrieval.errors import BusyError, InputError
from clipgpt_retrieval.explore.cache import index_stamp
from clipgpt_retrieval.explore.contents import Contents
from clipgpt_retrieval.index.collection import Collection

MAX_CONTENTS = 8
"""Tables of contents in memory; others are read again from the cache beside their index."""

MAX_EXPLORING = 3
"""Requests that compute clusters or wait for them, which hold a thread each; one computes at a time."""

RETRY_SECONDS = 5

MAX_LOCATED = 1000
"""Items that one request locates."""


class ContentsCache:
    """The tables of contents used last: one object for each, so that a level is computed once."""

    def __init__(self) -> None:
        self._contents: OrderedDict[tuple[str, int], tuple[tuple[Collection, int], Contents]] = OrderedDict()
        self._lock = threading.Lock()
        self._computing = threading.RLock()
        self.slots = threading.BoundedSemaphore(MAX_EXPLORING)

    def get(self, resource: ClipGptResource, num_clusters: int) -> Contents:
        """The table of contents of an index with up to ``num_clusters`` clusters on each level."""
        key = (resource.name, num_clusters)
        with self._lock:
            state, _ = self._contents.get(key, (None, None))
            now = (resource.items, resource.items.revision)
            if state != now:  # none yet, or of an index that was reloaded since
                engine = resource.require_engine("indice_name")
                contents = Contents(
                    resource.items, _unchanged_file(resource), engine, num_clusters, lock=self._computing
                )
                self._contents[key] = (now, contents)
            self._contents.move_to_end(key)
            if len(self._contents) > MAX_CONTENTS:
                self._contents.popitem(last=False)
            return self._contents[key][1]


class ExploreService(Resource):
    """``GET /explore-service``."""

    def __init__(self, *, clip_resources: Indices, contents_cache: ContentsCache) -> None:
        super().__init__()
        self._clip_resources = clip_resources.current
        self._contents_cache = contents_cache

    def get(self) -> dict[str, Any]:
        """Returns the clusters of the index, or of the given cluster; see `Contents.open`.

        With ``ids``, such as ``3,17``, there is ``found``: for each cluster that is the nearest of some, their ids.
        """
        params = validated(ExploreRequest, request.args.to_dict())
        resource = pick_resource(self._clip_resources, params.indice_name)
        contents = self._contents_cache.get(resource, params.num_clusters)
        opened = self._opened(contents, params.cluster)
        if params.ids is not None:
            ids = _parsed(params.ids)
            found: dict[str, list[int]] = {}
            for item, cluster in zip(ids, contents.locate(ids, params.cluster), strict=True):
                if cluster is not None:
                    found.setdefault(cluster, []).append(item)
            opened["found"] = found
        return {"indice_name": resource.name, **opened}

    def _opened(self, contents: Contents, cluster: str | None) -> dict[str, Any]:
        if contents.is_loaded(cluster):
            return contents.open(cluster)
        slots = self._contents_cache.slots
        if not slots.acquire(blocking=False):
            raise BusyError("other requests compute clusters, retry later", retry_after=RETRY_SECONDS)
        try:
            return contents.open(cluster, yield_point=check_deadline)
        finally:
            slots.release()


def _parsed(ids: str) -> list[int]:
    """Ids separated by commas, each once.

    Raises:
        InputError: something that is not a number, or too many.
    """
    parts = ids.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        raise InputError("ids", f"is {ids[:40]!r}: give item ids separated by commas, such as 3,17")
    if len(parts) > MAX_LOCATED:
        raise InputError("ids", f"has {len(parts)} ids, at most {MAX_LOCATED} are located")
    return list(dict.fromkeys(map(int, parts)))


def _unchanged_file(resource: ClipGptResource) -> Path | None:
    """The file of an index, to cache results beside; None if it is another than the one that is served."""
    file = resource.index_file
    return file if file is not None and file.exists() and index_stamp(file) == resource.index_stamp else None
