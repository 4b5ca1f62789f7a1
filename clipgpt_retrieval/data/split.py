"""Which images are learned from and which are measured on: by image, never by caption."""

import zlib
from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.data.caption_files import TRAINING_SPLITS, CaptionFile, file_name
from clipgpt_retrieval.data.embedding_folder import Pairs, split_by_image

LARGEST_CRC = 2**32


@dataclass(frozen=True)
class Split:
    """Shares images out, the same each time.

    Attributes:
        kind: ``"image"``: a draw over a whole collection; ``"name"``: by each image's name, so that a part of a
            collection is enough to tell; ``"file"``: as a file of Karpathy's has it, whose test images are on neither
            side.
        fraction: share of the images to measure on; a file has its own.
        seed: of the draw, and of the names' hash.
        captions: the file.
    """

    kind: str
    fraction: float
    seed: int
    captions: CaptionFile | None = None

    def split(self, pairs: Pairs) -> tuple[Pairs, Pairs]:
        """The images to learn from and those to measure on.

        Raises:
            InputError: one of the sides of a whole collection would be empty.
        """
        if self.kind == "image":
            return split_by_image(pairs, self.fraction, self.seed)
        if self.kind == "name":
            measured = np.array([self._drawn(name) for name in pairs.names], bool)
            return pairs.subset(np.flatnonzero(~measured)), pairs.subset(np.flatnonzero(measured))
        assert self.captions is not None and self.captions.splits is not None
        parts = [self.captions.splits.get(file_name(name)) for name in pairs.names]
        return (
            pairs.subset(np.flatnonzero([part in TRAINING_SPLITS for part in parts])),
            pairs.subset(np.flatnonzero([part == "val" for part in parts])),
        )

    def _drawn(self, name: str) -> bool:
        return zlib.crc32(f"{self.seed}/{name}".encode(errors="surrogatepass")) < self.fraction * LARGEST_CRC


def split_kind(captions: CaptionFile | None, streamed: bool) -> str:
    """The kind of split that goes with a file of captions and with streaming."""
    if captions is not None and captions.splits is not None and "val" in captions.splits.values():
        return "file"
    return "name" if streamed else "image"
