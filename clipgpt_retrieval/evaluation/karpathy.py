"""Finds the test images of a Karpathy split in a collection."""

from dataclasses import replace

import numpy as np

from clipgpt_retrieval.data.caption_files import file_name, read_split
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.metrics.karpathy import TestSet
from clipgpt_retrieval.model.prompt_text import clean_caption

CAPTIONS = 5
"""Captions of an image that papers use."""


def find_test_set(file: str, collection: Collection) -> tuple[Collection, TestSet | str]:
    """The collection narrowed to the test images of a split file, which are matched by file name.

    Args:
        file: path or fsspec URL of ``dataset_coco.json``, ``dataset_flickr30k.json``, ...
        collection: what is evaluated without a split file.

    Returns:
        The collection of the test images, and these as a test set. If any of them is missing, was trained on or has
        other captions: the collection unchanged, and the reason.

    Raises:
        DataError: the file is not a Karpathy split file.
    """
    wanted = [image for image in read_split(file).images if image.split == "test"]
    tests = _narrowed(collection, {image.filename for image in wanted}, file)
    row_of = {file_name(name): row for row, name in enumerate(tests.pairs.names)}
    if len(row_of) < len(tests.pairs):
        return collection, "several images of the folder have the file name of one test image: not comparable"
    missing = {image.filename for image in wanted} - row_of.keys()
    if missing or not wanted:
        trained = missing & {file_name(name) for name in (tests.trained_on.names if tests.trained_on else [])}
        counts = f"{len(trained)} are in the training set and {len(missing) - len(trained)} are missing"
        return collection, f"of the {len(wanted)} test images {counts}: not comparable with papers"
    starts = np.concatenate([[0], np.cumsum([len(captions) for captions in tests.pairs.captions])])
    query_of = {
        (image, text): int(starts[image]) + i
        for image, captions in enumerate(tests.pairs.captions)
        for i, text in enumerate(captions)
    }
    images = [row_of[image.filename] for image in wanted]
    texts = [
        list(dict.fromkeys(clean_caption(sentence.raw) for sentence in image.sentences[:CAPTIONS])) for image in wanted
    ]
    keys = [[(image, text) for text in of_image] for image, of_image in zip(images, texts, strict=True)]
    unknown = sum(key not in query_of for of_image in keys for key in of_image)
    if unknown:
        return collection, f"{unknown} captions of the test images are not in the folder's metadata"
    return tests, TestSet(np.array(images), [[query_of[key] for key in of_image] for of_image in keys])


def _narrowed(collection: Collection, names: set[str], file: str) -> Collection:
    """The images with these file names that the model was not trained on."""
    unseen = collection.unseen
    wanted = np.array([file_name(name) in names for name in unseen.names], bool)
    return replace(
        collection,
        pairs=unseen.subset(np.flatnonzero(wanted)),
        subset=f"the {wanted.sum()} test images of {file}, of {collection.total}",
        others=unseen.subset(np.flatnonzero(~wanted)),
    )
