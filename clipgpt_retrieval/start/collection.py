"""From the stored embeddings to a collection with its index, as clip-retrieval lays them out."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import astuple
from io import StringIO
from pathlib import Path

import numpy as np

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.start.embeddings import EmbeddingStore
from clipgpt_retrieval.start.images import ImageFile
from clipgpt_retrieval.storage import new_folder

RECORD = "start.json"


def is_current(collection: Path, key: str) -> bool:
    """Whether a collection was made of what ``key`` stands for, see `collection_key`."""
    try:
        return json.loads((collection / RECORD).read_text(encoding="utf-8"))["key"] == key
    except (OSError, ValueError, KeyError, TypeError):
        return False


def collection_key(folder: Path, images: Sequence[ImageFile], captions: dict[str, str]) -> str:
    """A hash of all that decides a collection: the folder, the images and their captions by name."""
    decides = [str(folder), [astuple(image) for image in images], captions]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def write_collection(
    collection: Path, folder: Path, images: Sequence[ImageFile], captions: dict[str, str], store: EmbeddingStore
) -> int:
    """Writes ``img_emb/``, ``metadata/`` and ``index/`` of a folder's images; an earlier collection is replaced.

    Args:
        collection: the folder to write.
        folder: the folder of the images.
        images: the images; those without an embedding are left out.
        captions: their captions, by name.
        store: their embeddings.

    Returns:
        The number of images in the collection.

    Raises:
        DataError: there is none.
    """
    from clip_retrieval.clip_index import clip_index

    key = collection_key(folder, images, captions)
    with new_folder(str(collection), last=RECORD) as staging:
        count = _write_embeddings(staging, folder, images, captions, store)
        if not count:
            raise DataError(f"no image of {folder} can be read: give a folder with readable images")
        print(f"indexing {count:,} images ...", flush=True)
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # autofaiss shows bars of one step
            clip_index(str(staging), str(staging / "index"))
        (staging / RECORD).write_text(json.dumps({"key": key, "images": count}), encoding="utf-8")
    return count


def _write_embeddings(
    staging: Path, folder: Path, images: Sequence[ImageFile], captions: dict[str, str], store: EmbeddingStore
) -> int:
    import pandas as pd

    for name in ("img_emb", "metadata"):
        (staging / name).mkdir()
    count = 0
    for number, part in enumerate(store.living(images)):
        rows = pd.DataFrame({"image_path": [str(folder / image.name) for image in part.images]})
        if captions:
            rows["caption"] = pd.array([captions.get(image.name) for image in part.images], dtype="string")
        np.save(staging / "img_emb" / f"img_emb_{number:06d}.npy", part.embeddings)
        rows.to_parquet(staging / "metadata" / f"metadata_{number:06d}.parquet")
        count += len(part.images)
    return count
