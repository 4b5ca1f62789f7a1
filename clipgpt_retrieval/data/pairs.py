"""Image-text pairs: the embeddings of images with the captions of each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.sample import Sample
from clipgpt_retrieval.errors import DataError


@dataclass(frozen=True)
class Pairs:
    """The embeddings of images and the captions of each.

    Attributes:
        embeddings: float32 ``[n, clip_dim]``, unit norm.
        captions: n lists of at least one caption.
        target_captions: n lists of at least one caption to generate; the captions, unless a column has its own.
        embedding_norm: mean L2 norm of the embeddings as the folder stores them.
        rows: for each image, the rows of the folder that it came from.
        names: the ``image_path`` of each image, or ``"row <i>"``.
    """

    embeddings: np.ndarray
    captions: list[list[str]]
    target_captions: list[list[str]]
    embedding_norm: float
    rows: list[list[int]]
    names: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def subset(self, images: np.ndarray) -> "Pairs":
        """The pairs at the given positions, in that order."""
        return Pairs(
            self.embeddings[images],
            [self.captions[image] for image in images],
            [self.target_captions[image] for image in images],
            self.embedding_norm,
            [self.rows[image] for image in images],
            [self.names[image] for image in images],
        )

    def sample(self, row: int, draw: int) -> Sample:
        """An image with one of its captions and one of its target captions, chosen by ``draw``."""
        captions, targets = self.captions[row], self.target_captions[row]
        return Sample(self.embeddings[row], captions[draw % len(captions)], targets[draw % len(targets)])

    def fingerprint(self) -> str:
        """Hash of the embeddings and names in their order; independent of the folder's path."""
        digest = hashlib.sha256(np.ascontiguousarray(self.embeddings).tobytes())
        digest.update("\n".join(self.names).encode(errors="surrogatepass"))
        return digest.hexdigest()[:16]


def concatenate(parts: Sequence[Pairs]) -> Pairs:
    """The pairs of several collections as one.

    Raises:
        DataError: the embeddings differ in dimension.
    """
    if len(parts) == 1:
        return parts[0]
    dimensions = {part.embeddings.shape[1] for part in parts}
    if len(dimensions) > 1:
        raise DataError(f"the folders have embeddings of dimensions {sorted(dimensions)}: give folders of one CLIP")
    return Pairs(
        np.concatenate([part.embeddings for part in parts]),
        [captions for part in parts for captions in part.captions],
        [captions for part in parts for captions in part.target_captions],
        float(np.mean([part.embedding_norm for part in parts])),
        [rows for part in parts for rows in part.rows],
        [name for part in parts for name in part.names],
    )
