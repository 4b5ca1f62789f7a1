"""One training sample: an image's embedding with the texts drawn for it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """An image's embedding, a caption to encode and a caption to generate.

    Attributes:
        embedding: float32 ``[clip_dim]``, unit norm.
        query_text: what the query embedding is predicted from.
        target_caption: what is generated from the embedding; the same text as ``query_text`` unless a run has a
            column of its own for it (``--caption_targets``).
    """

    embedding: np.ndarray
    query_text: str
    target_caption: str
