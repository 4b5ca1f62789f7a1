"""Bootstrap confidence intervals and paired permutation tests, both over images.

The captions of one image are not independent. So images are resampled, each with all of its captions; resampling
single captions would make the intervals too narrow.
"""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
PERMUTATIONS = 9999
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two encoders compared on the same queries.

    Attributes:
        difference: mean score of the first minus that of the second.
        p_value: of a two-sided sign-flip permutation test over images.
    """

    difference: Estimate
    p_value: float


class ImageBootstrap:
    """Resamples of the images that queries ask for, the same for every metric.

    Args:
        images: int ``[n]``, the image that each query asks for.
        seed: of the resamples.
    """

    def __init__(self, images: np.ndarray, seed: int) -> None:
        self._images = np.unique(images, return_inverse=True)[1]  # [n], consecutive
        self._count = int(self._images.max()) + 1
        self._seed = seed
        drawn = np.random.default_rng(seed).multinomial(self._count, np.full(self._count, 1 / self._count), RESAMPLES)
        self._drawn = drawn.astype(np.float64)  # [resamples, images]: how often each image was drawn
        self._queries_drawn = self._drawn @ self._sums(np.ones(len(images)))  # [resamples]

    def mean(self, values: np.ndarray) -> Estimate:
        """The mean of ``values`` ``[n]``."""
        return _estimate(float(values.mean()), self._drawn @ self._sums(values) / self._queries_drawn)

    def median(self, values: np.ndarray) -> Estimate:
        """The median of ``values`` ``[n]``."""
        order = np.argsort(values, kind="stable")
        images = self._images[order]
        medians = [
            values[order[np.searchsorted(np.cumsum(drawn[images]), queries / 2)]]
            for drawn, queries in zip(self._drawn, self._queries_drawn, strict=True)
        ]
        return _estimate(float(np.median(values)), np.array(medians))

    def compare(self, first: np.ndarray, second: np.ndarray) -> Comparison:
        """Scores ``first`` ``[n]`` compared with ``second`` ``[n]`` of the same queries."""
        from scipy.stats import permutation_test

        a, b = self._sums(first), self._sums(second)
        # scipy cannot permute a single sample, for which the p-value is 1 anyway.
        if self._count == 1 or np.array_equal(a, b):
            return Comparison(self.mean(first - second), 1.0)
        test = permutation_test(
            (a, b),
            lambda x, y, axis: (x - y).sum(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=PERMUTATIONS,
            batch=500,
            random_state=self._seed,
        )
        return Comparison(self.mean(first - second), float(test.pvalue))

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """The sum of ``values`` ``[n]`` over the queries of each image."""
        return np.bincount(self._images, weights=values, minlength=self._count)


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))
