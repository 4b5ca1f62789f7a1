"""Interleaved queries: the query's own image is not a result."""

import numpy as np
import pytest

from clipgpt_retrieval.data.interleaved import ImageSegment, Interleaved, TextSegment
from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.evaluation.interleaved import evaluate_interleaved

COUNT = 60


@pytest.fixture
def interleaved(embeddings) -> Interleaved:
    """The target of each image with a change is the next one."""
    captions = [["a"]] * COUNT
    rows, names = [[i] for i in range(COUNT)], list(map(str, range(COUNT)))
    pairs = Pairs(embeddings[:COUNT], captions, captions, 1.0, rows, names)
    queries = [[ImageSegment(clip=i), TextSegment(text="but at night")] for i in range(COUNT - 1)]
    return Interleaved(queries, pairs, targets=np.arange(1, COUNT))


def rank(query: np.ndarray, gallery: np.ndarray, target: int, source: int) -> int:
    order = [i for i in np.argsort(-(gallery @ query)) if i != source]
    return order.index(target)


def test_metrics_are_those_of_a_search_without_the_source(interleaved, clipgpt):
    gallery = interleaved.pairs.embeddings
    found = evaluate_interleaved(interleaved, clipgpt, None, seed=0)
    asked = {
        "CLIP-GPT, images and text": clipgpt.encode([interleaved.segments(i) for i in range(COUNT - 1)]),
        "CLIP-GPT, text alone": clipgpt.encode(["but at night"] * (COUNT - 1)),
        "images alone": gallery[: COUNT - 1],
    }
    assert (set(found.metrics), found.queries, found.gallery) == (set(asked), COUNT - 1, COUNT)
    for name, queries in asked.items():
        ranks = np.array([rank(query, gallery, i + 1, i) for i, query in enumerate(queries)])
        assert found.metrics[name]["R@10"].value == pytest.approx((ranks < 10).mean())


def test_clip_adds_image_and_text(interleaved, clipgpt, clip_model):
    from clipgpt_retrieval.engine.text_tower import load_text_tower

    clip = load_text_tower(clip_model, "cpu")
    found = evaluate_interleaved(interleaved, clipgpt, clip, seed=0)
    text = clip.encode(["but at night"])[0]
    gallery = interleaved.pairs.embeddings
    ranks = np.array([rank(gallery[i] + text, gallery, i + 1, i) for i in range(COUNT - 1)])
    assert found.metrics["CLIP, images plus text"]["R@10"].value == pytest.approx((ranks < 10).mean())
