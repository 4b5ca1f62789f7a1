"""CLIP's embeddings of captions to train with: those of the folders, or from the CLIP that the run names."""

from collections.abc import Sequence

import numpy as np

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.data.text_embeddings import TextEmbeddings, joined, read_text_embeddings
from clipgpt_retrieval.engine.text_tower import OwnTower
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.training.data import folders_of
from clipgpt_retrieval.training.run import Run
from clipgpt_retrieval.training.validation import first_captions

Texts = tuple[TextEmbeddings | None, TextEmbeddings | None]
"""Of captions of the training set, and of the first captions of the validation set."""


def text_embeddings(run: Run, captions: np.ndarray) -> Texts:
    """Text embeddings from ``text_emb/`` of the folders; where none has one, from the CLIP that the run names.

    Args:
        run: gives the folders and ``clip_model``.
        captions: positions of the training captions to embed by that CLIP, int64 ``[n]``.

    Returns:
        Twice None where there is neither ``text_emb/`` nor a CLIP that can be loaded; the second alone is None where
        ``text_emb/`` has captions of training images only.

    Raises:
        DataError: a ``text_emb/`` does not fit its folder.
    """
    folders = folders_of(run.options.embeddings_folder)
    training = _read(folders, [pairs for pairs, _ in run.data.by_folder], run.data.clip_dim)
    validation = _read(folders, [first_captions(pairs) for _, pairs in run.data.by_folder], run.data.clip_dim)
    if training is not None:
        return training, validation
    tower = OwnTower(run.options.clip_model, run.data.clip_dim, str(run.model.device)).load()
    if tower is None:
        return None, None
    texts = [caption for of_image in run.data.in_memory.captions for caption in of_image]
    firsts = [of_image[0] for of_image in run.data.validation.captions]
    return (
        TextEmbeddings(captions, tower.encode([texts[i] for i in captions])),
        TextEmbeddings(np.arange(len(firsts)), tower.encode(firsts)),
    )


def _read(folders: Sequence[str], parts: Sequence[Pairs], clip_dim: int) -> TextEmbeddings | None:
    found = [(pairs, read_text_embeddings(folder, pairs)) for folder, pairs in zip(folders, parts, strict=True)]
    for folder, (_, texts) in zip(folders, found, strict=True):
        if texts is not None and texts.embeddings.shape[1] != clip_dim:
            raise DataError(
                f"{folder}/text_emb has dimension {texts.embeddings.shape[1]}, expected {clip_dim} as in img_emb/"
            )
    return joined(found)
