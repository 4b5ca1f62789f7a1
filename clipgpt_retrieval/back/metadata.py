"""The metadata service: clip-retrieval's own, behind a check of what is asked."""

from typing import Any

from clip_retrieval.clip_back import MetadataService
from flask import request

from clipgpt_retrieval.back.resources import pick_resource
from clipgpt_retrieval.back.schema import MetadataRequest, parse_request


class CheckedMetadataService(MetadataService):
    """``POST /metadata``."""

    def post(self) -> list[dict[str, Any]]:
        """Answers ``[{"id", "metadata"}]``."""
        asked = parse_request(MetadataRequest)
        resource = pick_resource(self.clip_resources, asked.indice_name)
        resource.items.check(asked.ids)
        # Upstream reads the body itself: hand it the one that was checked, with the index named.
        request.get_json(force=True).update(indice_name=resource.name, ids=asked.ids)
        return super().post()
