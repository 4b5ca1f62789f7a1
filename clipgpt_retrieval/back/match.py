"""Whether the best hit of a text is a close match, by the thresholds that the model's evaluation chose."""

import numpy as np

from clipgpt_retrieval.back.request_encoder import RequestEncoder
from clipgpt_retrieval.back.resources import ClipGptResource
from clipgpt_retrieval.back.responses import Match

TEXT_TOWER = "text_tower"


def best_match(resource: ClipGptResource, encoder: RequestEncoder, text: str, embedding: np.ndarray) -> Match | None:
    """The similarity of a text's best hit, and the threshold of a match.

    Compared is what the evaluation found to separate texts with and without a match best: CLIP's text embedding if CLIP
    is loaded, or an embedding of CLIP-GPT, and the hit's own embedding, whatever the metric of the index.

    Args:
        resource: the index, with a model that encodes.
        encoder: of the same index.
        text: the query.
        embedding: what the index is searched with, float32 ``[1, d]``.

    Returns:
        None if the model has no threshold, or the index no images.
    """
    engine = resource.require_engine("text")
    thresholds = engine.match_thresholds
    signals = [name for name in thresholds if name != TEXT_TOWER]
    if TEXT_TOWER in thresholds and resource.model is not None:
        signals = [TEXT_TOWER]
    if not signals or "image" not in resource.collections:
        return None
    [[hit]], [[found]] = resource.items.nearest(embedding, 1)  # found: [d]
    if hit < 0:
        return None
    [signal] = signals
    if signal == TEXT_TOWER:
        compared = encoder.text_tower(text)
    else:
        query_embedding, image_embedding = engine.encode_both([text])
        compared = query_embedding if signal == "query" else image_embedding  # [1, d]
    return {"similarity": float(compared[0] @ found), "threshold": thresholds[signal]}
