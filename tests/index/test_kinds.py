"""One suite for every kind of index: search with and without filters against brute force, embeddings, metadata."""

import math
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from index_kinds import BUILDERS, COUNT, DIM, EXACT, embeddings, metadata, table

from clipgpt_retrieval.errors import NotFoundError
from clipgpt_retrieval.index.filters import parse_filter

VECTORS = embeddings()
COLUMNS = metadata()
QUERIES = VECTORS[::250] + 0.05 * np.random.default_rng(1).normal(size=(12, DIM)).astype(np.float32)
K = 10


@pytest.fixture(scope="module", params=list(BUILDERS))
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def collection(kind, tmp_path_factory):
    return BUILDERS[kind](kind, tmp_path_factory.mktemp("kinds") / "index", VECTORS, table())


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def holds(value: Any, op: str, wanted: Any) -> bool:
    """What a condition means, in Python."""
    if op == "exists":
        return is_missing(value) != wanted
    if is_missing(value):
        return False
    return {
        "=": lambda: value == wanted,
        "!=": lambda: value != wanted,
        "<": lambda: value < wanted,
        "<=": lambda: value <= wanted,
        ">": lambda: value > wanted,
        ">=": lambda: value >= wanted,
        "in": lambda: value in wanted,
        "contains": lambda: wanted in value,
    }[op]()


def kept(*conditions: tuple) -> np.ndarray:
    """The ids that satisfy conditions, by brute force over the rows."""
    return np.array(
        [i for i in range(COUNT) if all(holds(COLUMNS[field][i], op, wanted) for field, op, wanted in conditions)],
        np.int64,
    )


def parsed(collection, *conditions: tuple):
    return parse_filter(
        [dict(zip(("field", "op", "value"), one, strict=True)) for one in conditions], collection.fields()
    )


def recall(ids: np.ndarray, among: np.ndarray, k: int = K) -> float:
    """The share of the nearest among some ids that were found."""
    nearest = among[np.argsort(-(QUERIES @ VECTORS[among].T), axis=1)[:, :k]]
    return float(np.mean([np.isin(truth, found).mean() for truth, found in zip(nearest, ids, strict=True)]))


def test_search_finds_the_nearest_with_their_similarities(collection, kind):
    similarities, ids = collection.search(QUERIES, K)
    assert similarities.dtype == np.float32
    assert ids.dtype == np.int64
    assert similarities.shape == ids.shape == (len(QUERIES), K)
    assert (np.diff(similarities) <= 0).all()
    own = np.einsum("qd,qkd->qk", QUERIES, collection.embeddings(ids.ravel()).reshape(*ids.shape, DIM))
    if kind in EXACT:
        assert recall(ids, np.arange(COUNT)) >= 0.99
        np.testing.assert_allclose(similarities, own, atol=1e-5)
    else:
        assert recall(ids, np.arange(COUNT)) >= 0.3  # product quantization of few bits


SELECTIVITIES = {
    "half": [("rank", "<", COUNT // 2)],
    "a fifth": [("score", "<", 2.0), ("safe", "exists", True)],
    "1 in 17": [("tags", "contains", "tag 3")],
    "1 %": [("rank", ">=", 200), ("rank", "<", 230)],
    "three": [("rank", "in", [5, 17, 2999, -1, 10**6])],
}


@pytest.mark.parametrize("name", SELECTIVITIES)
def test_a_filter_is_applied_inside_the_search(collection, kind, name):
    """As many results as without it, the nearest of those that it keeps; never fewer because others were nearer."""
    conditions = SELECTIVITIES[name]
    among = kept(*conditions)
    filter = parsed(collection, *conditions)
    assert collection.count(filter) == len(among)
    similarities, ids, found = collection.search_with_embeddings(QUERIES, K, filter)
    expected = min(K, len(among))
    assert (ids >= 0).sum(1).tolist() == [expected] * len(QUERIES)
    assert np.isin(ids[ids >= 0], among).all()
    assert np.isnan(similarities[ids < 0]).all()
    assert (found[ids < 0] == 0).all()
    np.testing.assert_allclose(found[ids >= 0], collection.embeddings(ids[ids >= 0]), atol=1e-6)
    unfiltered = recall(collection.search(QUERIES, K)[1], np.arange(COUNT))
    assert recall(ids, among) >= (0.99 if kind in EXACT else 0.95 * unfiltered)
    own = np.einsum("qd,qkd->qk", QUERIES, found)
    if kind in EXACT:
        np.testing.assert_allclose(similarities[ids >= 0], own[ids >= 0], atol=1e-5)


CONDITIONS = [
    ("width", "=", 130),
    ("width", "!=", 130),
    ("width", "<=", 130.5),
    ("width", "exists", False),
    ("huge", "=", 2**53 + 1),
    ("huge", ">", 2**63 - 2),
    ("huge", "<", 10**30),
    ("huge", ">", 10**30),
    ("huge", "in", [2**63 - 1, 10**30, -(10**30)]),
    ("score", "=", 0.3),
    ("score", "!=", 0.3),
    ("score", ">", -1),
    ("score", "exists", False),
    ("score", "in", [0.3, 0.7]),
    ("caption", "=", "猫と犬"),
    ("caption", "=", ""),
    ("caption", "!=", "a dog"),
    ("caption", "contains", "forêt"),
    ("caption", "contains", "犬"),
    ("caption", "contains", "%"),
    ("caption", "contains", "_x_"),
    ("caption", "contains", "\\"),
    ("caption", "contains", "'"),
    ("caption", "contains", '"quoted"'),
    ("caption", "contains", "A DOG"),
    ("caption", "=", "' or 1=1 --"),
    ("caption", "in", ['O\'Brien "quoted"', '") or rank >= 0 or caption in ("']),
    ("caption", ">=", "une"),
    ("caption", "exists", True),
    ("safe", "=", False),
    ("safe", "!=", False),
    ("safe", "in", [True, False]),
    ("tags", "contains", "blue"),
    ("tags", "contains", "blu"),
    ("tags", "exists", False),
    ("taken", ">=", "2020-03-01"),
    ("taken", "<", "2020-01-01T12:00+02:00"),
    ("taken", "=", "2020-01-02T00:00:00Z"),
]


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: " ".join(map(str, condition))[:40])
def test_each_operator_on_each_type(collection, condition):
    field, op, value = condition
    if field == "taken" and not any(one.name == field and one.type == "time" for one in collection.fields()):
        pytest.skip("this kind has no type for times")
    wanted = value
    if field == "taken":
        wanted = {"2020-03-01": datetime(2020, 3, 1), "2020-01-01T12:00+02:00": datetime(2020, 1, 1, 10)}.get(
            value, datetime(2020, 1, 2)
        )
    among = kept((field, op, wanted))
    filter = parsed(collection, condition)
    assert collection.count(filter) == len(among)
    _, ids = collection.search(QUERIES[:2], COUNT, filter)
    for found in ids:
        assert np.isin(found[found >= 0], among).all()


def test_more_results_than_there_are_items(collection):
    similarities, ids = collection.search(QUERIES[:1], COUNT + 5)
    assert ids.shape == (1, COUNT)
    assert not np.isnan(similarities[ids >= 0]).any()
    filter = parsed(collection, ("rank", "<", 0))
    assert collection.count(filter) == 0
    similarities, ids = collection.search(QUERIES[:2], K, filter)
    assert (ids == -1).all()
    assert np.isnan(similarities).all()


def test_metadata_come_in_the_order_of_the_ids_with_repeats(collection):
    ids = [COUNT - 1, 0, COUNT // 3 - 1, COUNT // 3, 17, 0]
    rows = collection.metadata(ids, ["rank", "caption", "no such column"])
    assert [row["rank"] for row in rows] == ids
    assert [row["caption"] for row in rows] == [COLUMNS["caption"][item] for item in ids]
    assert set(collection.metadata([3], None)[0]) >= set(COLUMNS)
    assert collection.metadata([], ["rank"]) == []
    assert collection.metadata([1, 2], ["no such column"]) == [{}, {}]


def test_the_size_and_the_ids_are_those_of_the_collection(collection):
    assert (len(collection), collection.count(), collection.dimension) == (COUNT, COUNT, DIM)
    assert not collection.is_l2
    ids, sampled = collection.sample(50)
    assert len(np.unique(ids)) == 50
    np.testing.assert_allclose(sampled, collection.embeddings(ids), atol=1e-6)
    with pytest.raises(NotFoundError, match=f"ids: no item {COUNT}"):
        collection.check([0, COUNT])
    with pytest.raises(NotFoundError, match="segments: no item -1"):
        collection.embeddings([-1], "segments")


def test_every_column_is_a_field(collection):
    types = {field.name: field.type for field in collection.fields()}
    assert types["rank"] == types["width"] == types["huge"] == "integer"
    assert (types["score"], types["caption"], types["safe"], types["tags"]) == ("number", "text", "boolean", "list")


def test_fields_are_summarised_for_menus(collection):
    summaries = {summary.field.name: summary for summary in collection.summaries()}
    assert (summaries["rank"].minimum, summaries["rank"].maximum) == (0, COUNT - 1)
    assert (summaries["score"].minimum, summaries["score"].maximum) == (0.0, 9.9)
    assert summaries["huge"].maximum == 2**63 - 1
    assert {value for value, _ in summaries["caption"].values} == set(COLUMNS["caption"]) - {None}
    assert {value for value, _ in summaries["safe"].values} == {True, False}
    assert [value for value, _ in summaries["tags"].values][:2] in (["red", "blue"], ["blue", "red"])
    width = summaries["width"]
    assert width.missing == pytest.approx(width.counted / 7, rel=0.2)
