"""The 1K and 5K metrics of papers, over the test images of a Karpathy split."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.metrics.retrieval import Ranks, compute_caption_ranks, compute_ranks, scores

FOLD = 1000


@dataclass(frozen=True)
class TestSet:
    """Test images in the order of the split file, which makes the folds.

    Attributes:
        images: their rows in the gallery, int64 ``[t]``.
        queries: for each image the rows of its captions among the queries, at most five.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    images: np.ndarray
    queries: list[list[int]]


@dataclass(frozen=True)
class KarpathyMetrics:
    """R@1/5/10 in per cent.

    Attributes:
        protocol: ``"1K"``: mean over folds of 1,000 images; ``"5K"``: all test images of COCO.
        encoder: of the captions.
        images: number of test images.
        text_to_image: per cent by R@k.
        image_to_text: per cent by R@k; the best of an image's captions counts.
    """

    protocol: str
    encoder: str
    images: int
    text_to_image: dict[str, float]
    image_to_text: dict[str, float]


def evaluate_karpathy(test: TestSet, queries: np.ndarray, gallery: np.ndarray, encoder: str) -> list[KarpathyMetrics]:
    """Metrics over all test images, and the mean over folds of 1,000 where there are several.

    Args:
        test: the test images and their captions.
        queries: caption embeddings, float32 ``[n, d]``.
        gallery: image embeddings, float32 ``[g, d]``.
        encoder: of the captions.
    """
    count = len(test.images)
    metrics = [_mean_over_folds(_protocol(count), [range(count)], test, queries, gallery, encoder)]
    folds = [range(start, start + FOLD) for start in range(0, count - FOLD + 1, FOLD)]
    if len(folds) > 1:
        metrics.append(_mean_over_folds("1K", folds, test, queries, gallery, encoder))
    return metrics


def _protocol(count: int) -> str:
    return f"{count // 1000}K" if count % 1000 == 0 else str(count)


def _mean_over_folds(
    protocol: str, folds: list[range], test: TestSet, queries: np.ndarray, gallery: np.ndarray, encoder: str
) -> KarpathyMetrics:
    to_image, to_text = [], []
    for fold in folds:
        images = gallery[test.images[fold.start : fold.stop]]
        captions = queries[[query for i in fold for query in test.queries[i]]]
        truth = np.repeat(np.arange(len(fold)), [len(test.queries[i]) for i in fold])
        to_image.append(_per_cent(compute_ranks(captions, images, truth)))
        to_text.append(_per_cent(compute_caption_ranks(captions, images, truth)))
    mean = [{name: float(np.mean([one[name] for one in each])) for name in each[0]} for each in (to_image, to_text)]
    return KarpathyMetrics(protocol, encoder, len(test.images), *mean)


def _per_cent(ranks: Ranks) -> dict[str, float]:
    scored = scores(ranks)
    return {name: 100 * float(scored[name].mean()) for name in ("R@1", "R@5", "R@10")}
