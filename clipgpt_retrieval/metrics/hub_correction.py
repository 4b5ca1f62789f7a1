"""Correction of hubs: images that lie near many queries whatever these ask for.

In high dimensions some images are among the nearest of far more queries than others (Radovanovic et al. 2010,
"Hubs in Space"). Their similarities are lowered by how near they lie to a bank of other queries, as in the querybank
normalisation of Bogolin et al. 2022 (arXiv:2112.12777), with a subtraction instead of a division.
"""

import numpy as np

SHARPNESS = 20.0
"""Inverse temperature of the mean over the bank: the nearest queries of an image count most."""

CHUNK = 4096
"""Embeddings whose similarities to the whole bank are in memory at once: 32 MB for a bank of 2,000."""


def hub_penalty(embeddings: np.ndarray, query_bank: np.ndarray, strength: float) -> np.ndarray:
    """What to subtract from the similarities of images, so that hubs rank lower: ``[n]`` float32.

    ``strength * log(mean over b of exp(20 * s_b)) / 20``, with ``s_b`` an image's similarity to query b of the bank.

    Args:
        embeddings: of the images, ``[n, d]``, unit norm.
        query_bank: queries that ask for other images, ``[m, d]``, unit norm.
        strength: 0 corrects nothing, 1 subtracts the whole smooth maximum.

    Raises:
        ValueError: the bank is empty, or its dimension is not that of the embeddings.

    >>> hub, other = np.eye(2, dtype=np.float32)
    >>> penalty = hub_penalty(np.stack([hub, other]), np.stack([hub, hub]), strength=1.0)
    >>> penalty.round(3).tolist()
    [1.0, 0.0]
    """
    penalties = np.zeros(len(embeddings), np.float32)
    if not strength:
        return penalties
    if not len(query_bank) or query_bank.shape[1] != embeddings.shape[1]:
        raise ValueError(f"a query bank of shape {query_bank.shape} for embeddings of shape {embeddings.shape}")
    bank = query_bank.astype(np.float32).T  # [d, m]
    for start in range(0, len(embeddings), CHUNK):
        scaled = SHARPNESS * (embeddings[start : start + CHUNK].astype(np.float32) @ bank)  # [c, m]
        highest = scaled.max(axis=1)  # [c], subtracted so that no exponential overflows
        means = np.exp(scaled - highest[:, None]).mean(axis=1)  # [c]
        penalties[start : start + CHUNK] = strength * (highest + np.log(means)) / SHARPNESS
    return penalties
