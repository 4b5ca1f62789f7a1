"""The 1K and 5K metrics that papers print, on the test images of Karpathy's split."""

from dataclasses import dataclass, replace

import numpy as np

from clipgpt_retrieval.data.caption_files import file_name, read_split
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.metrics.retrieval import caption_ranks, ranks, scores
from clipgpt_retrieval.model.prompt_text import clean_caption

FOLD = 1000
CAPTIONS = 5
"""Captions of an image that count; COCO has a sixth or seventh for some."""


@dataclass(frozen=True)
class TestSet:
    """The test images of the split, in the file's order.

    Attributes:
        images: their places in the collection, int64 ``[t]``.
        queries: their captions' places among the collection's queries, five for each image at most.
    """

    images: np.ndarray
    queries: list[list[int]]


@dataclass(frozen=True)
class KarpathyMetrics:
    """R@1/5/10 in per cent, as papers print them.

    Attributes:
        protocol: ``"1K"`` is the mean over folds of 1,000 images, ``"5K"`` all test images of COCO.
        encoder: what encoded the captions.
        images: test images.
        text_to_image: per cent by R@k.
        image_to_text: per cent by R@k; the best of an image's captions counts.
    """

    protocol: str
    encoder: str
    images: int
    text_to_image: dict[str, float]
    image_to_text: dict[str, float]


def find_test_set(file: str, collection: Collection) -> tuple[Collection, TestSet | str]:
    """The test images of the split, to be measured on instead of the collection's own part of its folder.

    Images are known by their file name.

    Args:
        file: path or fsspec URL of ``dataset_coco.json``, ``dataset_flickr30k.json``, ...
        collection: what is evaluated otherwise.

    Returns:
        The collection of the test images, and what they are in it; where they are not all there for a model that has
        not learned from them, the collection as it was, and why.

    Raises:
        DataError: the file cannot be read as such.
    """
    wanted = [image for image in read_split(file).images if image.split == "test"]
    tests = _narrowed(collection, {image.filename for image in wanted}, file)
    place_of = {file_name(name): place for place, name in enumerate(tests.pairs.names)}
    missing = {image.filename for image in wanted} - place_of.keys()
    if missing or not wanted:
        learned = missing & {file_name(name) for name in (tests.trained_on.names if tests.trained_on else [])}
        why = f"{len(learned)} are learned from and {len(missing) - len(learned)} absent"
        return collection, f"of the {len(wanted)} test images {why}, so no metric is comparable with a paper's"
    starts = np.concatenate([[0], np.cumsum([len(captions) for captions in tests.pairs.captions])])
    query_of = {
        (image, text): int(starts[image]) + place
        for image, captions in enumerate(tests.pairs.captions)
        for place, text in enumerate(captions)
    }
    images = [place_of[image.filename] for image in wanted]
    texts = [
        list(dict.fromkeys(clean_caption(sentence.raw) for sentence in image.sentences[:CAPTIONS])) for image in wanted
    ]
    keys = [[(image, text) for text in of_image] for image, of_image in zip(images, texts, strict=True)]
    unknown = sum(key not in query_of for of_image in keys for key in of_image)
    if unknown:
        return collection, f"{unknown} captions of the test images are not those of the folder's metadata"
    return tests, TestSet(np.array(images), [[query_of[key] for key in of_image] for of_image in keys])


def _narrowed(collection: Collection, names: set[str], file: str) -> Collection:
    """The images of these file names that the model did not learn from."""
    unseen = collection.unseen
    wanted = np.array([file_name(name) in names for name in unseen.names], bool)
    return replace(
        collection,
        pairs=unseen.subset(np.flatnonzero(wanted)),
        part=f"the {wanted.sum()} test images of {file}, of {collection.total}",
        others=unseen.subset(np.flatnonzero(~wanted)),
    )


def evaluate_karpathy(test: TestSet, queries: np.ndarray, gallery: np.ndarray, encoder: str) -> list[KarpathyMetrics]:
    """Metrics over all test images, and the mean over folds of 1,000 where there are several.

    Args:
        test: see :func:`find_test_set`.
        queries: embeddings of all the collection's queries, float32 ``[n, d]``.
        gallery: embeddings of all its images, float32 ``[g, d]``.
        encoder: what encoded the queries.
    """
    count = len(test.images)
    found = [_measured(_protocol(count), [range(count)], test, queries, gallery, encoder)]
    folds = [range(start, start + FOLD) for start in range(0, count - FOLD + 1, FOLD)]
    if len(folds) > 1:
        found.append(_measured("1K", folds, test, queries, gallery, encoder))
    return found


def _protocol(count: int) -> str:
    return f"{count // 1000}K" if count % 1000 == 0 else str(count)


def _measured(
    protocol: str, folds: list[range], test: TestSet, queries: np.ndarray, gallery: np.ndarray, encoder: str
) -> KarpathyMetrics:
    to_image, to_text = [], []
    for fold in folds:
        images = gallery[test.images[fold.start : fold.stop]]
        asked = queries[[query for place in fold for query in test.queries[place]]]
        truth = np.repeat(np.arange(len(fold)), [len(test.queries[place]) for place in fold])
        to_image.append(_per_cent(ranks(asked, images, truth)))
        to_text.append(_per_cent(caption_ranks(asked, images, truth)))
    mean = [{name: float(np.mean([one[name] for one in each])) for name in each[0]} for each in (to_image, to_text)]
    return KarpathyMetrics(protocol, encoder, len(test.images), *mean)


def _per_cent(places: np.ndarray) -> dict[str, float]:
    scored = scores(places)
    return {name: 100 * float(scored[name].mean()) for name in ("R@1", "R@5", "R@10")}
