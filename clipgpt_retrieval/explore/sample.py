"""A sample of an index, stratified by its clusters."""

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.explore.contents import Contents
from clipgpt_retrieval.explore.tables import Row


def stratified_sample(contents: Contents, engine: ClipGpt, count: int) -> list[Row]:
    """Captioned items of each cluster of the first level, in proportion to its size, at least one where it suffices."""
    clusters = contents.open()["clusters"]
    rows = []
    for cluster, quota in zip(clusters, _quotas([one["size"] for one in clusters], count), strict=True):
        if quota:
            ids, embeddings = contents.some_items(cluster["id"], quota)
            captions = engine.caption(embeddings)
            rows += [
                {"id": int(item), "caption": caption, "cluster": cluster["id"], "cluster_caption": cluster["caption"]}
                for item, caption in zip(ids, captions, strict=True)
            ]
    return rows


def _quotas(sizes: list[int], count: int) -> list[int]:
    """``count`` divided in proportion to ``sizes``; at least 1 each where it suffices."""
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
