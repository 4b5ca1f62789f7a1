"""One alt text of a page among a thousand captions must not end an evaluation."""

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.evaluation.encoders import encode_queries


def test_a_caption_longer_than_the_context_is_truncated(clipgpt):
    images = np.eye(2, clipgpt.clip_dim, dtype=np.float32)
    long, short = "a red dog in the snow and " * 400, "a red dog"
    pairs = Pairs(images, [[long], [short]], [[long], [short]], 1.0, [[0], [1]], ["0", "1"])
    encoded = encode_queries(clipgpt, Collection("nowhere", pairs, None, "all", 2), None, None, 0)
    np.testing.assert_allclose(np.linalg.norm(encoded.query, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoded.query[1], clipgpt.encode([short])[0], atol=1e-5)
