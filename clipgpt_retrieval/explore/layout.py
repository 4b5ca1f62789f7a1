"""Where clusters stand on a map."""

import numpy as np


def positions(centres: np.ndarray) -> np.ndarray:
    """A place for each of ``[n, d]`` centres, alike ones near each other, ``[n, 2]`` within 0..1.

    t-SNE from the plane of largest variance, the same at every run; of a handful of points that plane itself.
    """
    if len(centres) == 1:
        return np.full((1, 2), 0.5)
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    places = np.zeros((len(centres), 2))
    if len(centres) < 8:
        plane = min(2, len(centres) - 1)
        places[:, :plane] = PCA(plane, random_state=0).fit_transform(centres)
    else:
        perplexity = min(30.0, (len(centres) - 1) / 3)
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(centres)
    low, high = places.min(0), places.max(0)
    return np.where(high > low, (places - low) / np.where(high > low, high - low, 1), 0.5)
