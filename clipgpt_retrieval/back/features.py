"""What each index of this server can do, told to web pages along with the list of indices."""

import json
from typing import Any

from clip_retrieval.clip_back import IndicesList

from clipgpt_retrieval.back.resources import ClipGptResource

FEATURES_HEADER = "ClipGPT-Features"
"""A page asks any back end for its indices anyway: one that has this header in the answer is ours."""


class AnnouncedIndicesList(IndicesList):
    """``GET /indices-list``: the stock answer, and in a header what each index can do."""

    def __init__(self, *, clip_resources: dict[str, ClipGptResource]) -> None:
        super().__init__(indices=list(clip_resources))
        self._features = json.dumps({name: features_of(resource) for name, resource in clip_resources.items()})

    def get(self) -> Any:
        """Answers the names of the indices."""
        return super().get(), 200, {FEATURES_HEADER: self._features}


def features_of(resource: ClipGptResource) -> dict[str, Any]:
    """What one index can do.

    Returns:
        ``clip``: CLIP's own weights are loaded, for its text tower and for uploaded images; ``clipgpt``: text
        and interleaved queries are encoded, items captioned (a model that only captions is not announced);
        ``explore``: there are a table of contents and a map; ``weight``: CLIP-GPT's share where a request names none.
    """
    return {
        "clip": resource.model is not None,
        "clipgpt": resource.encodes,
        "explore": resource.engine is not None,
        "weight": resource.clipgpt_weight,
    }
