"""Near-duplicates and outliers among a sample of an index."""

from dataclasses import dataclass

import numpy as np

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.explore.tables import Row
from clipgpt_retrieval.index.collection import Collection

PROBED_ITEMS = 2_000
"""Items whose neighbours are searched: results are estimates for the index."""

DUPLICATE_COSINE = 0.97
NUM_NEIGHBOURS = 10
BATCH = 250
MAX_ROWS = 100


@dataclass(frozen=True)
class Neighbourhoods:
    """A sample of an index and the nearest neighbours of each of its items, without the item itself.

    Attributes:
        ids: of the sample, int64 ``[m]``.
        embeddings: of the sample, float32 ``[m, d]``.
        neighbours: ids, int64 ``[m, k]``; -1 where there is none.
        cosines: to the neighbours, float32 ``[m, k]``; -1 where there is none.
    """

    ids: np.ndarray
    embeddings: np.ndarray
    neighbours: np.ndarray
    cosines: np.ndarray


def neighbourhoods(items: Collection) -> Neighbourhoods:
    """Searches the neighbours of a sample."""
    from tqdm import tqdm

    ids, embeddings = items.sample(PROBED_ITEMS)
    found, cosines = [], []
    for start in tqdm(range(0, len(ids), BATCH), desc="searching neighbours", disable=None):
        rows = embeddings[start : start + BATCH]
        near, vectors = items.nearest(rows, NUM_NEIGHBOURS + 1)
        found.append(near)
        cosines.append(np.einsum("nkd,nd->nk", vectors, rows))
    neighbours = np.concatenate(found)
    missing = (neighbours < 0) | (neighbours == ids[:, None])
    return Neighbourhoods(
        ids, embeddings, np.where(missing, -1, neighbours), np.where(missing, -1, np.concatenate(cosines))
    )


def duplicates(items: Collection, engine: ClipGpt) -> tuple[list[Row], float]:
    """Near-duplicates among a sample and its neighbours, and the share of the sample that has one."""
    near = neighbourhoods(items)
    similar = near.cosines >= DUPLICATE_COSINE
    found = np.flatnonzero(similar.any(1))
    groups = {tuple(sorted({int(near.ids[row]), *near.neighbours[row][similar[row]].tolist()})): row for row in found}
    largest = sorted(groups, key=lambda group: (-len(group), group))[:MAX_ROWS]
    captions = engine.caption(near.embeddings[[groups[group] for group in largest]])
    rows = [
        {"caption": caption, "ids": list(group), "cosine": float(near.cosines[groups[group]].max())}
        for group, caption in zip(largest, captions, strict=True)
    ]
    return rows, len(found) / len(near.ids)


def outliers(items: Collection, engine: ClipGpt) -> list[Row]:
    """The items of a sample with the least similar neighbours, the most isolated first."""
    near = neighbourhoods(items)
    means = np.sort(near.cosines, axis=1)[:, -NUM_NEIGHBOURS:].mean(1)
    order = np.argsort(means, kind="stable")[:MAX_ROWS]
    captions = engine.caption(near.embeddings[order])
    return [
        {"id": int(near.ids[row]), "caption": caption, "mean_cosine_to_neighbours": float(means[row])}
        for row, caption in zip(order, captions, strict=True)
    ]
