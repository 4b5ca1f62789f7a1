"""One interface to a collection of items, whatever holds it: everything above this room uses it alone."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clipgpt_retrieval.index.field_summary import FieldSummary, summary_of
from clipgpt_retrieval.index.filters import Field, Filter

if TYPE_CHECKING:
    from clipgpt_retrieval.index.inverted_lists import InvertedLists

Ids = Sequence[int] | np.ndarray

SAMPLED_IDS = 10_000
"""Items whose metadata are read to summarise fields."""

MISSING_ID = -1
"""The id where a search found fewer items than requested."""


class Collection(ABC):
    """Items with an id, an embedding and metadata.

    An id is an int64 from 0. In a faiss index it is the row; in other kinds there may be gaps.

    Attributes:
        name: what errors call the collection.
        inverted_lists: the lists of an IVF index, whose centroids and members can be read without its ids; None for
            every other kind.
    """

    name: str
    inverted_lists: "InvertedLists | None" = None

    def __len__(self) -> int:
        return self.count()

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Dimension of each embedding."""

    @property
    @abstractmethod
    def is_l2(self) -> bool:
        """Whether the similarities of `search` are squared distances, smaller for nearer items; else inner products."""

    @property
    def revision(self) -> int:
        """Another number after items were added, changed or deleted, for the keys of caches; 0 if none ever are."""
        return 0

    @abstractmethod
    def count(self, filter: Filter = ()) -> int:
        """The number of items that a filter keeps."""

    @abstractmethod
    def search(self, queries: np.ndarray, k: int, filter: Filter = ()) -> tuple[np.ndarray, np.ndarray]:
        """The items nearest to each query, among those that a filter keeps.

        Args:
            queries: ``[q, d]``, of any norm.
            k: at least 1.
            filter: checked by `parse_filter` against `fields`.

        Returns:
            Similarities float32 and ids int64, both ``[q, min(k, len(self))]``, the nearest first; where fewer were
            found, the id is -1 and the similarity NaN.
        """

    def search_with_embeddings(
        self, queries: np.ndarray, k: int, filter: Filter = ()
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `search`, with the embeddings of the results.

        Returns:
            Similarities, ids, and embeddings float32 ``[q, k, d]`` of unit norm, 0 where the id is -1.
        """
        similarities, ids = self.search(queries, k, filter)
        embeddings = np.zeros((*ids.shape, self.dimension), np.float32)
        found = ids != MISSING_ID
        embeddings[found] = self.embeddings(ids[found])
        return similarities, ids, embeddings

    def nearest(self, embeddings: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The items nearest to each of ``[n, d]`` embeddings, for analysis: found as well as the index can quickly.

        Returns:
            Ids int64 ``[n, min(count, len(self))]``, -1 where fewer were found, and embeddings float32 ``[n, ..., d]``
            of unit norm, 0 where the id is -1.
        """
        _, ids, found = self.search_with_embeddings(embeddings, count)
        return ids, found

    @abstractmethod
    def check(self, ids: Ids, field: str = "ids") -> None:
        """Refuses ids that the collection does not contain.

        Args:
            ids: ``n`` item ids.
            field: the request field that they came from, for the error.

        Raises:
            NotFoundError: names the first of them.
        """

    @abstractmethod
    def embeddings(self, ids: Ids, field: str = "ids") -> np.ndarray:
        """The embeddings of items, in any order and with repeats.

        Returns:
            float32 ``[n, d]``, unit norm; the reconstruction of compressed ones.

        Raises:
            NotFoundError: an id that the collection does not contain.
        """

    @abstractmethod
    def metadata(self, ids: Ids, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The metadata of items, in any order and with repeats.

        Args:
            ids: ``n`` item ids that the collection contains.
            columns: those to read, as far as they exist; None: all.

        Returns:
            ``n`` dicts; values as the store has them, so that clip-retrieval's own answers stay as they are.
        """

    @abstractmethod
    def sample(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """A random sample without repeats.

        Returns:
            Ids int64 ``[m]`` and embeddings float32 ``[m, d]`` of unit norm; ``m`` is at most ``count``.

        Raises:
            DataError: an embedding in the sample contains NaN or infinity.
        """

    @abstractmethod
    def norms(self, count: int = 100) -> np.ndarray:
        """Norms of at most ``count`` embeddings, as the collection contains them; float32 ``[m]``."""

    @abstractmethod
    def fields(self) -> list[Field]:
        """The fields of the metadata that a filter may name."""

    def summaries(self) -> list[FieldSummary]:
        """The ranges and frequent values of `fields`; of a sample, unless a kind knows better."""
        fields = self.fields()
        ids, _ = self.sample(SAMPLED_IDS)
        rows = self.metadata(ids, [field.name for field in fields])
        return [summary_of(field, [row.get(field.name) for row in rows]) for field in fields]
