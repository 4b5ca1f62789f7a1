"""Training and validation sets: images are split, so that all captions of an image are on one side."""

import zlib
from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.caption_files import TRAINING_SPLITS, CaptionFile
from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.errors import InputError

CRC_RANGE = 2**32


@dataclass(frozen=True)
class Split:
    """Splits images into a training and a validation set, deterministically.

    Attributes:
        kind: ``"image"``: a random draw over a whole collection; ``"name"``: by a hash of each image's name, so that
            part of a collection can be split alone; ``"file"``: as in a Karpathy split file, whose test images are on
            neither side.
        fraction: share of the images in the validation set; unused by ``"file"``.
        seed: of the draw and of the hash.
        captions: the split file.
    """

    kind: str
    fraction: float
    seed: int
    captions: CaptionFile | None = None

    def split(self, pairs: Pairs) -> tuple[Pairs, Pairs]:
        """The training set and the validation set.

        Raises:
            InputError: kind ``"image"`` would leave one of the sets empty.
        """
        if self.kind == "image":
            return split_by_image(pairs, self.fraction, self.seed)
        if self.kind == "name":
            held_out = np.array([self._is_held_out(name) for name in pairs.names], bool)
            return pairs.subset(np.flatnonzero(~held_out)), pairs.subset(np.flatnonzero(held_out))
        assert self.captions is not None and self.captions.splits is not None
        parts = [self.captions.splits.get(self.captions.key(name) or "") for name in pairs.names]
        return (
            pairs.subset(np.flatnonzero([part in TRAINING_SPLITS for part in parts])),
            pairs.subset(np.flatnonzero([part == "val" for part in parts])),
        )

    def _is_held_out(self, name: str) -> bool:
        return zlib.crc32(f"{self.seed}/{name}".encode(errors="surrogatepass")) < self.fraction * CRC_RANGE


def split_by_image(pairs: Pairs, validation_fraction: float, seed: int) -> tuple[Pairs, Pairs]:
    """A random training and validation set.

    Raises:
        InputError: one of the sets would be empty.
    """
    count = round(len(pairs) * validation_fraction)
    if not 0 < count < len(pairs):
        raise InputError(
            "validation_fraction",
            f"is {validation_fraction}, which puts {count} of {len(pairs)} images into the validation set: "
            "neither set may be empty",
        )
    order = np.random.default_rng(seed).permutation(len(pairs))
    return pairs.subset(order[count:]), pairs.subset(order[:count])


def split_kind(captions: CaptionFile | None, streamed: bool) -> str:
    """The kind of split for a caption file and for streaming."""
    if captions is not None and captions.splits is not None and "val" in captions.splits.values():
        return "file"
    return "name" if streamed else "image"
