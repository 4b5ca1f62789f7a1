"""The 1K and 5K figures that papers print, on the test pictures of Karpathy's split."""

from dataclasses import dataclass, replace

import numpy as np

from clipgpt_retrieval.caption_files import file_name, read_split
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.evaluation.retrieval import caption_ranks, ranks, scores
from clipgpt_retrieval.model.sequence import clean_caption

FOLD = 1000
CAPTIONS = 5
"""Captions of a picture that count; COCO has a sixth or seventh for some."""


@dataclass(frozen=True)
class TestSet:
    """The test pictures of the split, in the file's order.

    Attributes:
        pictures: their places in the collection, int64 ``[t]``.
        queries: their captions' places among the collection's queries, five for each picture at most.
    """

    pictures: np.ndarray
    queries: list[list[int]]


@dataclass(frozen=True)
class KarpathyFigures:
    """R@1/5/10 in per cent, as papers print them.

    Attributes:
        protocol: ``"1K"`` is the mean over folds of 1,000 pictures, ``"5K"`` all test pictures of COCO.
        encoder: what encoded the captions.
        pictures: test pictures.
        text_to_image: per cent by R@k.
        image_to_text: per cent by R@k; the best of a picture's captions counts.
    """

    protocol: str
    encoder: str
    pictures: int
    text_to_image: dict[str, float]
    image_to_text: dict[str, float]


def find_test_set(file: str, collection: Collection) -> tuple[Collection, TestSet | str]:
    """The test pictures of the split, to be measured on instead of the collection's own part of its folder.

    Pictures are known by their file name.

    Args:
        file: path or fsspec url of ``dataset_coco.json``, ``dataset_flickr30k.json``, ...
        collection: what is evaluated otherwise.

    Returns:
        The collection of the test pictures, and what they are in it; where they are not all there for a model that has
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
        return collection, f"of the {len(wanted)} test pictures {why}, so no figure is comparable with a paper's"
    starts = np.concatenate([[0], np.cumsum([len(captions) for captions in tests.pairs.captions])])
    query_of = {
        (picture, text): int(starts[picture]) + place
        for picture, captions in enumerate(tests.pairs.captions)
        for place, text in enumerate(captions)
    }
    pictures = [place_of[image.filename] for image in wanted]
    texts = [
        list(dict.fromkeys(clean_caption(sentence.raw) for sentence in image.sentences[:CAPTIONS])) for image in wanted
    ]
    keys = [[(picture, text) for text in of_picture] for picture, of_picture in zip(pictures, texts, strict=True)]
    unknown = sum(key not in query_of for of_picture in keys for key in of_picture)
    if unknown:
        return collection, f"{unknown} captions of the test pictures are not those of the folder's metadata"
    return tests, TestSet(np.array(pictures), [[query_of[key] for key in of_picture] for of_picture in keys])


def _narrowed(collection: Collection, names: set[str], file: str) -> Collection:
    """The pictures of these file names that the model did not learn from."""
    unseen = collection.unseen
    wanted = np.array([file_name(name) in names for name in unseen.names], bool)
    return replace(
        collection,
        pairs=unseen.subset(np.flatnonzero(wanted)),
        part=f"the {wanted.sum()} test pictures of {file}, of {collection.total}",
        others=unseen.subset(np.flatnonzero(~wanted)),
    )


def measure_karpathy(test: TestSet, queries: np.ndarray, gallery: np.ndarray, encoder: str) -> list[KarpathyFigures]:
    """Figures over all test pictures, and the mean over folds of 1,000 where there are several.

    Args:
        test: see :func:`find_test_set`.
        queries: embeddings of all the collection's queries, float32 ``[n, d]``.
        gallery: embeddings of all its pictures, float32 ``[g, d]``.
        encoder: what encoded the queries.
    """
    count = len(test.pictures)
    found = [_measured(_protocol(count), [range(count)], test, queries, gallery, encoder)]
    folds = [range(start, start + FOLD) for start in range(0, count - FOLD + 1, FOLD)]
    if len(folds) > 1:
        found.append(_measured("1K", folds, test, queries, gallery, encoder))
    return found


def _protocol(count: int) -> str:
    return f"{count // 1000}K" if count % 1000 == 0 else str(count)


def _measured(
    protocol: str, folds: list[range], test: TestSet, queries: np.ndarray, gallery: np.ndarray, encoder: str
) -> KarpathyFigures:
    to_image, to_text = [], []
    for fold in folds:
        pictures = gallery[test.pictures[fold.start : fold.stop]]
        asked = queries[[query for place in fold for query in test.queries[place]]]
        truth = np.repeat(np.arange(len(fold)), [len(test.queries[place]) for place in fold])
        to_image.append(_per_cent(ranks(asked, pictures, truth)))
        to_text.append(_per_cent(caption_ranks(asked, pictures, truth)))
    mean = [{name: float(np.mean([one[name] for one in each])) for name in each[0]} for each in (to_image, to_text)]
    return KarpathyFigures(protocol, encoder, len(test.pictures), *mean)


def _per_cent(places: np.ndarray) -> dict[str, float]:
    scored = scores(places)
    return {name: 100 * float(scored[name].mean()) for name in ("R@1", "R@5", "R@10")}
