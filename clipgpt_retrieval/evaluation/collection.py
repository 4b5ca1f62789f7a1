"""What is evaluated: images that the model was not trained on, their captions and CLIP's embeddings of these."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipgpt_retrieval.data.caption_files import CaptionFile, read_captions
from clipgpt_retrieval.data.embedding_folder import content_fingerprint, read_pairs
from clipgpt_retrieval.data.pairs import Pairs, concatenate
from clipgpt_retrieval.data.split import Split
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.training_record import read_training_record
from clipgpt_retrieval.storage import is_url


@dataclass(frozen=True)
class Collection:
    """Images to evaluate on.

    Attributes:
        folder: the embeddings folder.
        pairs: the images and their captions.
        trained_on: the images of the folder in the model's training set, or None if it was trained on another folder.
        subset: which images of the folder these are and why, in words.
        total: number of images in the folder.
        others: images that are neither evaluated nor in the training set, or None.
    """

    folder: str
    pairs: Pairs
    trained_on: Pairs | None
    subset: str
    total: int
    others: Pairs | None = None

    @property
    def unseen(self) -> Pairs:
        """All images of the folder that are not in the training set."""
        return self.pairs if self.others is None else concatenate([self.pairs, self.others])

    @property
    def texts(self) -> list[str]:
        """Every caption of every image, in the images' order: the queries."""
        return [caption for captions in self.pairs.captions for caption in captions]

    @property
    def truth(self) -> np.ndarray:
        """int64 ``[n]``: the image that each query asks for."""
        return np.repeat(np.arange(len(self.pairs)), [len(captions) for captions in self.pairs.captions])


def read_collection(folder: str, model: str) -> Collection:
    """The images of a folder that a model may be evaluated on.

    Of the folder that the model was trained on these are the held-out images, of any other folder all images.

    Args:
        folder: what ``clip-retrieval inference`` wrote, with captions.
        model: path of the clipgpt model, whose ``training.json`` records its training set.

    Raises:
        DataError: the folder cannot be read, or has changed since the training.
        ModelError: the model's ``training.json`` cannot be read.
    """
    record = read_training_record(model)
    if record is None:
        return _whole(folder, "all images, as the model has no training.json")
    content = content_fingerprint(folder)
    trained = _trained_on(folder, content, record)
    if trained is None:
        return _whole(folder, "all images, as the model was trained on another folder")
    captions = _captions(record)
    pairs = read_pairs(folder, captions)
    split = Split(record["split"], record["validation_fraction"], record["seed"], captions)
    if _has_changed(trained, content, pairs, split):
        raise DataError(
            f"{folder} has changed since the model was trained on it, so that its held-out images are unknown: "
            "give the unchanged folder, or another one"
        )
    trained_on, held_out = split.split(pairs)
    subset = f"the {len(held_out)} held out of {len(pairs)}, as the model was trained on {len(trained_on)} others"
    assigned = {*trained_on.names, *held_out.names}
    others = pairs.subset(np.flatnonzero([name not in assigned for name in pairs.names]))
    return Collection(folder, held_out, trained_on, subset, len(pairs), others)


def _whole(folder: str, subset: str) -> Collection:
    pairs = read_pairs(folder)
    return Collection(folder, pairs, None, subset, len(pairs))


def _captions(record: dict) -> CaptionFile | None:
    return read_captions(record["captions"]) if record.get("captions") else None


def _trained_on(folder: str, content: str, record: dict) -> dict | None:
    """The record's entry of this folder, even if it was moved or copied; None if it is not in the training set."""
    for entry in record["folders"]:
        if _same_path(folder, entry["folder"]) or entry["content"] == content:
            return entry
    return None


def _has_changed(trained: dict, content: str, pairs: Pairs, split: Split) -> bool:
    """Whether images may have moved between the training and the validation set since the training."""
    if split.kind == "image":
        return trained["fingerprint"] != pairs.fingerprint()
    # A split by name does not depend on the order, unless images without a name are named by their row.
    unnamed = any(name == f"row {rows[0]}" for name, rows in zip(pairs.names, pairs.rows, strict=True))
    return unnamed and trained["content"] != content


def _same_path(one: str, other: str) -> bool:
    if is_url(one) or is_url(other):
        return one.rstrip("/") == other.rstrip("/")
    return Path(one).resolve() == Path(other).resolve()
