"""The features of each index, announced to web pages with the list of indices."""

import json
from typing import Any

from clip_retrieval.clip_back import IndicesList

from clipgpt_retrieval.back.indices import Indices
from clipgpt_retrieval.back.resources import ClipGptResource

FEATURES_HEADER = "ClipGPT-Features"
"""Pages request the list of indices from any back end: this header marks one of ours."""


class AnnouncedIndicesList(IndicesList):
    """``GET /indices-list``: the stock response, with the features of each index in a header."""

    def __init__(self, *, clip_resources: Indices) -> None:
        indices = clip_resources.current
        super().__init__(indices=list(indices))
        self._features = json.dumps({name: features_of(resource) for name, resource in indices.items()})

    def get(self) -> Any:
        """Returns the names of the indices."""
        return super().get(), 200, {FEATURES_HEADER: self._features}


def features_of(resource: ClipGptResource) -> dict[str, Any]:
    """The features of one index.

    Returns:
        ``clip``: CLIP's own weights are loaded, for its text tower and uploaded images; ``clipgpt``: the model encodes
        text and interleaved queries and captions items (a model that only captions does not count); ``explore``: the
        index has a table of contents and a map; ``segments``: the model was trained on queries of several segments
        (otherwise the embeddings of their parts are added); ``weight``: the default weight of CLIP-GPT; ``encoder``:
        what encodes texts by default, see ``Encoder``; ``hub_correction``: whether results are re-ranked by default;
        ``export``: there is ``/export-service``; ``minus``: segments may have weights below 0; ``scores``: there is
        ``/score-service``, for texts as the model encodes them; ``filters``: the metadata have fields; ``items``: their
        number; ``clip_model`` and ``model``: names, or None; ``mclip``, ``aesthetic``, ``safety``, ``violence``: what
        clip-retrieval's flags have loaded; ``text_index``: ``modality`` may be ``text``.
    """
    return {
        "clip": resource.model is not None,
        "clipgpt": resource.encodes,
        "explore": resource.engine is not None,
        "segments": resource.encodes and not resource.require_engine("segments").adds_segments,
        "weight": resource.weight,
        "encoder": resource.encoder,
        "hub_correction": resource.hub_correction,
        "export": True,
        "minus": resource.encodes,
        "scores": resource.encodes,
        "filters": bool(resource.items.fields()),
        "items": len(resource.items),
        "clip_model": resource.clip_name,
        "model": resource.model_name,
        "mclip": resource.model_txt_mclip is not None,
        "aesthetic": resource.aesthetic_embeddings is not None,
        "safety": resource.safety_model is not None,
        "violence": resource.violence_detector is not None,
        "text_index": resource.text_index is not None and resource.image_index is not None,
    }
