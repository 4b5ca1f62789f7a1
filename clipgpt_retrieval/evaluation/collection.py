"""What is evaluated: the images that the model has not seen, their captions, and CLIP's embeddings of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipgpt_retrieval.data.caption_files import CaptionFile, read_captions
from clipgpt_retrieval.data.embedding_folder import READ_BATCH, content_fingerprint, read_pairs
from clipgpt_retrieval.data.pairs import Pairs, concatenate
from clipgpt_retrieval.data.split import Split
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.prompt_text import clean_caption
from clipgpt_retrieval.storage import is_url
from clipgpt_retrieval.training.record import read_training_record


@dataclass(frozen=True)
class Collection:
    """Images to evaluate on.

    Attributes:
        folder: where they came from.
        pairs: the images and their captions.
        trained_on: the folder's other images, where the model learned from them, else None.
        part: in words, which images of the folder these are and why.
        total: images in the folder.
        others: those that are neither measured on nor learned from, or None.
    """

    folder: str
    pairs: Pairs
    trained_on: Pairs | None
    part: str
    total: int
    others: Pairs | None = None

    @property
    def unseen(self) -> Pairs:
        """All images of the folder that the model did not learn from."""
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
    """The images of a folder that a model may be measured on.

    Of the folder that the model was trained on these are the held-out ones, of another folder all.

    Args:
        folder: what ``clip-retrieval inference`` wrote, with captions.
        model: path of the clipgpt model, whose ``training.json`` tells what it was trained on.

    Raises:
        DataError: the folder cannot be read, or it changed since the training so that nobody can tell which of its
            images were held out.
        ModelError: the model's ``training.json`` cannot be read.
    """
    record = read_training_record(model)
    if record is None:
        return _whole(folder, "all, as the model does not say what it was trained on")
    content = content_fingerprint(folder)
    trained = _trained_on(folder, content, record)
    if trained is None:
        return _whole(folder, "all, as the model was trained on another folder")
    captions = _captions(record)
    pairs = read_pairs(folder, captions)
    split = Split(record.get("split", "image"), record["validation_fraction"], record["seed"], captions)
    if _has_changed(trained, content, pairs, split):
        raise DataError(
            f"{folder} holds other images, or in another order, than when the model was trained on it: nobody can "
            "tell now which were held out; give the folder as it was, or another one"
        )
    trained_on, held_out = split.split(pairs)
    part = f"the {len(held_out)} held out of {len(pairs)}, as the model was trained on {len(trained_on)} others"
    shared_out = {*trained_on.names, *held_out.names}
    others = pairs.subset(np.flatnonzero([name not in shared_out for name in pairs.names]))
    return Collection(folder, held_out, trained_on, part, len(pairs), others)


def _whole(folder: str, part: str) -> Collection:
    pairs = read_pairs(folder)
    return Collection(folder, pairs, None, part, len(pairs))


def text_embeddings(folder: str, collection: Collection) -> tuple[np.ndarray, np.ndarray] | None:
    """CLIP's embeddings of the captions, where ``clip-retrieval inference`` left them in ``text_emb/``.

    That command embeds the column ``caption`` alone, so images with several captions have one of them there. Rows
    without a usable embedding are left out, as they are of ``img_emb/``.

    Returns:
        The queries that have one, int64 ``[m]``, and their embeddings, float32 ``[m, d]`` of unit norm; None where
        the folder has no ``text_emb/`` or none of its rows is a query.

    Raises:
        DataError: ``text_emb/`` and ``metadata/`` do not go together.
    """
    import fsspec

    fs, root = fsspec.core.url_to_fs(folder.rstrip("/"))
    if not fs.isdir(f"{root}/text_emb"):
        return None
    try:
        embeddings, captions = _read_text_emb(folder.rstrip("/"))
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"{folder}: text_emb/ and metadata/ cannot be read together: {error}") from error
    wanted = 1 + max(row for rows in collection.pairs.rows for row in rows)
    if len(embeddings) < wanted:
        raise DataError(
            f"{folder}: text_emb/ has {len(embeddings)} rows where img_emb/ has {wanted} or more: both must come from "
            "one run of clip-retrieval inference"
        )
    norms = np.linalg.norm(embeddings.astype(np.float32), axis=1)
    row_of = {
        (image, clean_caption(captions[row])): row
        for image, rows in enumerate(collection.pairs.rows)
        for row in rows
        if isinstance(captions[row], str) and np.isfinite(norms[row]) and norms[row] > 0
    }
    found = [
        (query, row_of[image, text])
        for query, (image, text) in enumerate(zip(collection.truth.tolist(), collection.texts, strict=True))
        if (image, text) in row_of
    ]
    if not found:
        return None
    queries, rows = np.array(found).T
    return queries, embeddings[rows].astype(np.float32) / norms[rows, None]


def _read_text_emb(folder: str) -> tuple[np.ndarray, list[str]]:
    from embedding_reader import EmbeddingReader

    reader = EmbeddingReader(
        embeddings_folder=f"{folder}/text_emb",
        metadata_folder=f"{folder}/metadata",
        meta_columns=["caption"],
        file_format="parquet_npy",
    )
    batches = list(reader(batch_size=READ_BATCH, show_progress=False))
    captions = [caption for _, metadata in batches for caption in metadata["caption"]]
    return np.concatenate([embeddings for embeddings, _ in batches]), captions


def _captions(record: dict) -> CaptionFile | None:
    return read_captions(record["captions"]) if record.get("captions") else None


def _trained_on(folder: str, content: str, record: dict) -> dict | None:
    """The record's entry of this folder, be it under another name by now; None where it was not trained on."""
    alone = {name: record[name] for name in ("images", "fingerprint") if name in record}
    entries = record.get("folders") or [{"folder": str(record.get("embeddings_folder")), **alone}]
    for entry in entries:
        if _same_path(folder, entry["folder"]) or entry.get("content") == content:
            return entry
    # The first models' records know a folder by its images alone, and a streamed one by nothing but its path.
    by_images = [entry for entry in entries if "content" not in entry and "images" in entry]
    fingerprint = _fingerprint(folder, _captions(record)) if by_images else None
    return next((entry for entry in by_images if entry.get("fingerprint") == fingerprint), None)


def _fingerprint(folder: str, captions: CaptionFile | None) -> str:
    """Of a folder's images; no image's where it cannot be read with these captions."""
    try:
        return read_pairs(folder, captions).fingerprint()
    except DataError:
        return ""


def _has_changed(trained: dict, content: str, pairs: Pairs, split: Split) -> bool:
    """Whether images may have moved from one side of the split to the other since the training."""
    if split.kind == "image":
        now = {"images": len(pairs), "fingerprint": pairs.fingerprint()}
        return any(trained.get(name, value) != value for name, value in now.items())
    # Names hold in whatever order, but an image without one is called after its row.
    unnamed = any(name == f"row {rows[0]}" for name, rows in zip(pairs.names, pairs.rows, strict=True))
    return unnamed and trained.get("content", content) != content


def _same_path(one: str, other: str) -> bool:
    if is_url(one) or is_url(other):
        return one.rstrip("/") == other.rstrip("/")
    return Path(one).resolve() == Path(other).resolve()
