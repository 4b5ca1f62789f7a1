"""What distinguishes two indexes of the same CLIP, estimated from a sample of each."""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.explore.leaves import weighted_kmeans
from clipgpt_retrieval.explore.tables import Row
from clipgpt_retrieval.index.collection import Collection

COMPARED_ITEMS = 20_000
NUM_EXAMPLES = 5
SIGNIFICANT = 3.0
"""Standard errors by which shares must differ to be reported."""

TYPICAL_SHARE = 0.05
TYPICAL_GROUPS = 4
MIN_CLASSIFIED_ITEMS = 50
MAX_P_VALUE = 1e-3
"""Of the classifier two-sample test."""


def compare(first: Collection, second: Collection, engine: ClipGpt, num_clusters: int) -> list[Row]:
    """Clusters of two indexes together by the difference of their shares, and items typical of only one index.

    Args:
        first: items of the one.
        second: items of the other, of the same CLIP.
        engine: captions the clusters.
        num_clusters: clusters of both together.

    Returns:
        Rows ``{"caption", "share_first", "share_second", "standard_errors", "verdict", ...}``. Shares are those of a
        sample of each index; the verdict is ``"alike"`` where they differ by less than three standard errors, and
        those rows come last. The rows of :func:`typical` come before them.
    """
    with tqdm(total=4, unit="step", desc="comparing", disable=None) as bar:
        samples = []
        for items in (first, second):
            samples.append(items.sample(COMPARED_ITEMS))
            bar.update()
        rows, points, ids, owner = _clusters(samples, engine, num_clusters)
        bar.update()
        typical_rows = typical(points, ids, owner, engine)
        bar.update()
    differing = [row for row in rows if row["verdict"] != "alike"]
    alike = [row for row in rows if row["verdict"] == "alike"]
    return [*differing, *typical_rows, *alike]


def _clusters(
    samples: Sequence[tuple[np.ndarray, np.ndarray]], engine: ClipGpt, num_clusters: int
) -> tuple[list[Row], np.ndarray, np.ndarray, np.ndarray]:
    """The rows of the clusters of both samples together, and the arrays that :func:`typical` takes."""
    counts = [len(ids) for ids, _ in samples]
    ids = np.concatenate([ids for ids, _ in samples])
    points = np.concatenate([embeddings for _, embeddings in samples])  # [n, d]
    owner = np.repeat([0, 1], counts)  # [n]
    # Each index weighs the same, however many items it has.
    weights = np.concatenate([np.full(count, 1 / count) for count in counts]) * min(counts)
    centres, labels = weighted_kmeans(points, weights, min(num_clusters, len(points)))
    rows = []
    for i, caption in enumerate(engine.caption(centres)):
        inside = labels == i
        found = [int((inside & (owner == side)).sum()) for side in (0, 1)]
        nearest = np.flatnonzero(inside)[np.argsort(-(points[inside] @ centres[i]))]
        examples = [ids[nearest[owner[nearest] == side]][:NUM_EXAMPLES] for side in (0, 1)]
        shares = [found[side] / counts[side] for side in (0, 1)]
        errors = _standard_errors(found, counts)
        rows.append(_row(caption, _verdict(found, errors), examples, shares, errors))
    rows.sort(key=lambda row: -abs(row["standard_errors"]))
    return rows, points, ids, owner


def typical(points: np.ndarray, ids: np.ndarray, owner: np.ndarray, engine: ClipGpt) -> list[Row]:
    """The items by which a classifier distinguishes two collections, where it can.

    A difference that is present in all clusters, such as a missing kind of object, does not show in their shares. A
    linear classifier finds it: if it does better than chance on held-out items, the collections differ (the
    classifier two-sample test of Lopez-Paz and Oquab 2017, arXiv:1610.06545), and the items with its most confident
    predictions show how.

    Args:
        points: embeddings of samples of both, ``[n, d]``.
        ids: their item ids ``[n]``.
        owner: 0 for the first collection and 1 for the second ``[n]``.
        engine: captions them.

    Returns:
        Rows as those of :func:`compare`, without shares; none where the classifier does no better than chance.
    """
    rows = []
    for side, members in enumerate(_most_confident(points, owner)):
        centres, labels = weighted_kmeans(points[members], np.ones(len(members)), min(TYPICAL_GROUPS, len(members)))
        for group, caption in enumerate(engine.caption(centres)):
            inside = members[labels == group]
            examples = [np.empty(0, np.int64), np.empty(0, np.int64)]
            examples[side] = ids[inside[np.argsort(-(points[inside] @ centres[group]))]][:NUM_EXAMPLES]
            rows.append(_row(caption, f"typical of the {('first', 'second')[side]}", examples))
    return rows


def _row(
    caption: str,
    verdict: str,
    examples: Sequence[np.ndarray],
    shares: Sequence[float | None] = (None, None),
    errors: float | None = None,
) -> Row:
    return {
        "caption": caption,
        "share_first": shares[0],
        "share_second": shares[1],
        "standard_errors": errors,
        "verdict": verdict,
        "examples_first": examples[0].tolist(),
        "examples_second": examples[1].tolist(),
    }


def _most_confident(points: np.ndarray, owner: np.ndarray) -> list[np.ndarray]:
    """Of each collection the rows that a classifier predicts best; nothing where it does no better than chance."""
    from scipy.stats import mannwhitneyu
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    members = [np.flatnonzero(owner == side) for side in (0, 1)]
    if min(map(len, members)) < MIN_CLASSIFIED_ITEMS:
        return []
    classifier = LogisticRegression(class_weight="balanced", max_iter=200)
    scores = cross_val_predict(classifier, points, owner, cv=5, method="decision_function")  # [n], high: the second's
    if mannwhitneyu(scores[members[1]], scores[members[0]], alternative="greater").pvalue > MAX_P_VALUE:
        return []
    return [
        rows[np.argsort(sign * scores[rows])[: max(MIN_CLASSIFIED_ITEMS, int(TYPICAL_SHARE * len(rows)))]]
        for rows, sign in zip(members, (1, -1), strict=True)
    ]


def _standard_errors(found: list[int], counts: list[int]) -> float:
    """Difference of the shares in standard errors, by the pooled z-test of two proportions."""
    pooled = sum(found) / sum(counts)
    error = (pooled * (1 - pooled) * (1 / counts[0] + 1 / counts[1])) ** 0.5
    return 0.0 if error == 0 else (found[0] / counts[0] - found[1] / counts[1]) / error


def _verdict(found: list[int], errors: float) -> str:
    if abs(errors) < SIGNIFICANT:
        return "alike"
    more, name = (0, "first") if errors > 0 else (1, "second")
    return f"only in the {name}" if found[1 - more] == 0 else f"more in the {name}"
