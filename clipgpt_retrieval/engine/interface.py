"""What explore and the services of the back end call of an engine."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from clipgpt_retrieval.engine.added import Query


class Engine(Protocol):
    """A :class:`ClipGpt`, or an engine that batches the calls of many threads to one."""

    @property
    def clip_dim(self) -> int:
        """See :attr:`ClipGpt.clip_dim`."""

    @property
    def encodes(self) -> bool:
        """See :attr:`ClipGpt.encodes`."""

    @property
    def fingerprint(self) -> str | None:
        """See :attr:`ClipGpt.fingerprint`."""

    def encode(self, queries: Sequence[Query], *, use_text_tower: Literal[False]) -> np.ndarray:
        """Query embeddings of CLIP-GPT alone; see :meth:`ClipGpt.encode`."""

    def caption(self, embeddings: Any) -> list[str]:
        """See :meth:`ClipGpt.caption`."""
