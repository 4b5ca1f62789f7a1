"""What a sample of an index tells: its differences from another index, its near-duplicates, outliers, and itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.explore.contents import Contents
from clipgpt_retrieval.explore.leaves import weighted_kmeans
from clipgpt_retrieval.index.items import Items

COMPARED_ITEMS = 20_000
PROBED_ITEMS = 2_000
"""Items whose neighbours are looked up for duplicates and outliers: what is told of the index is an estimate."""

DUPLICATE_COSINE = 0.97
NUM_NEIGHBOURS = 10
BATCH = 250
MAX_ROWS = 100
SIGNIFICANT = 3.0
"""Standard errors by which shares must differ to be told."""

TYPICAL_SHARE = 0.05
TYPICAL_GROUPS = 4
FEWEST_TO_TELL = 50
CHANCE = 1e-3
"""A classifier that does so well by chance once in a thousand times tells two collections apart."""

Rows = list[dict[str, Any]]


def compare(first: Items, second: Items, clipgpt: ClipGpt, num_clusters: int) -> Rows:
    """Clusters of two indexes put together, the most different shares first, and what else tells the two apart.

    Args:
        first: items of the one.
        second: items of the other, of the same CLIP.
        clipgpt: captions the clusters.
        num_clusters: clusters of both together.

    Returns:
        Rows ``{"caption", "share_first", "share_second", "standard_errors", "verdict", ...}``; the shares are those
        of a sample of each, and the verdict holds where they differ by more than three standard errors. The rows of
        :func:`typical` come before those whose verdict is ``"alike"``.
    """
    samples = [items.sample(COMPARED_ITEMS) for items in (first, second)]
    counts = [len(ids) for ids, _ in samples]
    points = np.concatenate([embeddings for _, embeddings in samples])  # [n, d]
    # Each index weighs the same, however many items it has.
    weights = np.concatenate([np.full(count, 1 / count) for count in counts]) * min(counts)
    centres, labels = weighted_kmeans(points, weights, min(num_clusters, len(points)))
    captions = clipgpt.caption(centres)
    owner = np.repeat([0, 1], counts)
    ids = np.concatenate([ids for ids, _ in samples])
    rows: Rows = []
    for i, caption in enumerate(captions):
        inside = labels == i
        found = [int((inside & (owner == side)).sum()) for side in (0, 1)]
        shares = [found[side] / counts[side] for side in (0, 1)]
        errors = _standard_errors(found, counts)
        nearest = np.flatnonzero(inside)[np.argsort(-(points[inside] @ centres[i]))]
        rows.append(
            {
                "caption": caption,
                "share_first": shares[0],
                "share_second": shares[1],
                "standard_errors": errors,
                "verdict": _verdict(found, errors),
                "examples_first": [int(ids[row]) for row in nearest if owner[row] == 0][:5],
                "examples_second": [int(ids[row]) for row in nearest if owner[row] == 1][:5],
            }
        )
    rows.sort(key=lambda row: -abs(row["standard_errors"]))
    differing = [row for row in rows if row["verdict"] != "alike"]
    alike = [row for row in rows if row["verdict"] == "alike"]
    return [*differing, *typical(points, ids, owner, clipgpt), *alike]


def typical(points: np.ndarray, ids: np.ndarray, owner: np.ndarray, clipgpt: ClipGpt) -> Rows:
    """The items by which a classifier tells two collections apart, where it can.

    A difference that runs through all clusters, such as a kind of thing that is missing everywhere, is in none of
    their shares. A linear classifier finds it: if it does better than chance on items that it has not seen, the
    collections differ (the classifier two-sample test of Lopez-Paz and Oquab 2017, arXiv:1610.06545), and the items
    that it is surest of show how.

    Args:
        points: embeddings of samples of both, ``[n, d]``.
        ids: their item ids ``[n]``.
        owner: 0 for the first collection and 1 for the second ``[n]``.
        clipgpt: captions them.

    Returns:
        Rows as those of :func:`compare`, without shares; none where the classifier does no better than chance.
    """
    surest = _sides(points, owner)
    if surest is None:
        return []
    rows = []
    for side, name in enumerate(("first", "second")):
        members = surest[side]
        centres, labels = weighted_kmeans(points[members], np.ones(len(members)), min(TYPICAL_GROUPS, len(members)))
        for group, caption in enumerate(clipgpt.caption(centres)):
            inside = members[labels == group]
            examples = inside[np.argsort(-(points[inside] @ centres[group]))][:5]
            rows.append(
                {
                    "caption": caption,
                    "share_first": None,
                    "share_second": None,
                    "standard_errors": None,
                    "verdict": f"typical of the {name}",
                    "examples_first": [int(i) for i in ids[examples]] if side == 0 else [],
                    "examples_second": [int(i) for i in ids[examples]] if side == 1 else [],
                }
            )
    return rows


def _sides(points: np.ndarray, owner: np.ndarray) -> list[np.ndarray] | None:
    """Of each collection the rows that a classifier is surest of, or None where it cannot tell the two apart."""
    from scipy.stats import mannwhitneyu
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    members = [np.flatnonzero(owner == side) for side in (0, 1)]
    if min(map(len, members)) < FEWEST_TO_TELL:
        return None
    classifier = LogisticRegression(class_weight="balanced", max_iter=200)
    scores = cross_val_predict(classifier, points, owner, cv=5, method="decision_function")  # [n], high: the second's
    if mannwhitneyu(scores[members[1]], scores[members[0]], alternative="greater").pvalue > CHANCE:
        return None
    return [
        rows[np.argsort(sign * scores[rows])[: max(FEWEST_TO_TELL, int(TYPICAL_SHARE * len(rows)))]]
        for rows, sign in zip(members, (1, -1), strict=True)
    ]


def _standard_errors(found: list[int], counts: list[int]) -> float:
    """How many standard errors the first share lies above the second, by the pooled test of two proportions."""
    pooled = sum(found) / sum(counts)
    error = (pooled * (1 - pooled) * (1 / counts[0] + 1 / counts[1])) ** 0.5
    return 0.0 if error == 0 else (found[0] / counts[0] - found[1] / counts[1]) / error


def _verdict(found: list[int], errors: float) -> str:
    if abs(errors) < SIGNIFICANT:
        return "alike"
    more, name = (0, "first") if errors > 0 else (1, "second")
    return f"only in the {name}" if found[1 - more] == 0 else f"more in the {name}"


@dataclass(frozen=True)
class Neighbourhoods:
    """A sample of an index and the neighbours of each item in it, which is none of its own.

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


def neighbourhoods(items: Items) -> Neighbourhoods:
    """Looks up the neighbours of a sample."""
    from tqdm import tqdm

    ids, embeddings = items.sample(PROBED_ITEMS)
    found, cosines = [], []
    for start in tqdm(range(0, len(ids), BATCH), desc="looking up neighbours", disable=None):
        rows = embeddings[start : start + BATCH]
        near, vectors = items.nearest(rows, NUM_NEIGHBOURS + 1)
        found.append(near)
        cosines.append(np.einsum("nkd,nd->nk", vectors, rows))
    neighbours = np.concatenate(found)
    missing = (neighbours < 0) | (neighbours == ids[:, None])
    return Neighbourhoods(
        ids, embeddings, np.where(missing, -1, neighbours), np.where(missing, -1, np.concatenate(cosines))
    )


def duplicates(items: Items, clipgpt: ClipGpt) -> tuple[Rows, float]:
    """Near-duplicates among a sample and its neighbours, and the share of the sample that has one."""
    near = neighbourhoods(items)
    alike = near.cosines >= DUPLICATE_COSINE
    having = np.flatnonzero(alike.any(1))
    groups = {tuple(sorted({int(near.ids[row]), *map(int, near.neighbours[row][alike[row]])})): row for row in having}
    largest = sorted(groups, key=lambda group: (-len(group), group))[:MAX_ROWS]
    captions = clipgpt.caption(near.embeddings[[groups[group] for group in largest]])
    rows = [
        {"caption": caption, "ids": list(group), "cosine": float(near.cosines[groups[group]].max())}
        for group, caption in zip(largest, captions, strict=True)
    ]
    return rows, len(having) / len(near.ids)


def outliers(items: Items, clipgpt: ClipGpt) -> Rows:
    """The items of a sample with the least similar neighbours, the most isolated first."""
    near = neighbourhoods(items)
    means = np.sort(near.cosines, axis=1)[:, -NUM_NEIGHBOURS:].mean(1)
    order = np.argsort(means, kind="stable")[:MAX_ROWS]
    captions = clipgpt.caption(near.embeddings[order])
    return [
        {"id": int(near.ids[row]), "caption": caption, "mean_cosine_to_neighbours": float(means[row])}
        for row, caption in zip(order, captions, strict=True)
    ]


def stratified_sample(contents: Contents, clipgpt: ClipGpt, count: int) -> Rows:
    """Captioned items, from each cluster of the first level in its share, and at least one of each where it fits."""
    clusters = contents.open()["clusters"]
    rows = []
    for cluster, quota in zip(clusters, _quotas([one["size"] for one in clusters], count), strict=True):
        if quota:
            ids, embeddings = contents.some_items(cluster["id"], quota)
            captions = clipgpt.caption(embeddings)
            rows += [
                {"id": int(item), "caption": caption, "cluster": cluster["id"], "cluster_caption": cluster["caption"]}
                for item, caption in zip(ids, captions, strict=True)
            ]
    return rows


def _quotas(sizes: list[int], count: int) -> list[int]:
    """``count`` shared out in proportion to ``sizes``; where it suffices, one for each first."""
    total = sum(sizes)
    count = min(count, total)
    first = 1 if count >= len(sizes) else 0
    left = count - first * len(sizes)
    rest = total - first * len(sizes)
    exact = [left * (size - first) / rest if rest else 0.0 for size in sizes]
    quotas = [first + int(number) for number in exact]
    order = sorted(range(len(sizes)), key=lambda i: int(exact[i]) - exact[i])
    for i in order[: count - sum(quotas)]:
        quotas[i] += 1
    return quotas
