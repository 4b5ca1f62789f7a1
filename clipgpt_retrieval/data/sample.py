"""One training sample."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """An image's embedding with a caption to encode and a caption to generate.

    Attributes:
        embedding: float32 ``[clip_dim]``, unit norm.
        query_text: the text that the query embedding is predicted from.
        target_caption: the text that is generated from the embedding; the same unless ``--caption_targets`` is given.
    """

    embedding: np.ndarray
    query_text: str
    target_caption: str
