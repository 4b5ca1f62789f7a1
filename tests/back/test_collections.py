"""Collections as people have them: indexes of any metric, and metadata of any type."""

import datetime
import decimal
import json

import faiss
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import unit_rows

from clipgpt_retrieval.back import create_app
from clipgpt_retrieval.back.json_values import json_value
from clipgpt_retrieval.errors import DataError

COUNT, DIM = 60, 64
EMBEDDINGS = unit_rows(COUNT, DIM, seed=3)
CAPTIONS = pd.DataFrame({"caption": [f"item {i}" for i in range(COUNT)]})


@pytest.fixture
def serve(tmp_path, clipgpt_path, offline_flags):
    """Makes a test client of one index and its metadata."""

    def create(index, metadata=CAPTIONS, **flags):
        (tmp_path / "index/metadata").mkdir(parents=True)
        faiss.write_index(index, str(tmp_path / "index/image.index"))
        metadata.to_parquet(tmp_path / "index/metadata/metadata_0.parquet")
        (tmp_path / "indices.json").write_text(json.dumps({"mine": str(tmp_path / "index")}))
        flags = {"clipgpt_model": clipgpt_path, "load_clip": False, **offline_flags, **flags}
        return create_app(indices_paths=str(tmp_path / "indices.json"), **flags).test_client()

    return create


def flat(metric=faiss.METRIC_INNER_PRODUCT, scale=1.0):
    index = faiss.IndexFlat(DIM, metric)
    index.add((scale * EMBEDDINGS).astype(np.float32))
    return index


def found(http, **body):
    body = {"embedding_input": EMBEDDINGS[7].tolist(), "num_images": COUNT, "num_result_ids": COUNT, **body}
    response = http.post("/knn-service", json=body)
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_constant=pytest.fail)  # NaN is not JSON


@pytest.mark.parametrize(
    ("index", "scale"),
    [(flat(faiss.METRIC_L2), 1), (flat(), 10), (flat(scale=3), 1), (flat(faiss.METRIC_L2, scale=3), 0.1)],
    ids=["L2", "long query", "long embeddings", "L2 of long embeddings"],
)
def test_min_similarity_is_a_cosine_whatever_the_index_computes(serve, index, scale):
    """On an L2 index the farthest items were kept, and the right ones left out."""
    cosines = EMBEDDINGS @ EMBEDDINGS[7]
    least = float(np.sort(cosines)[-5]) - 1e-4
    hits = found(serve(index), embedding_input=(scale * EMBEDDINGS[7]).tolist(), min_similarity=least)
    assert {hit["id"] for hit in hits} == set(np.flatnonzero(cosines >= least).tolist())


def test_a_search_that_finds_fewer_items_adds_none(serve):
    """The last item of a re-ordered collection was returned at similarity -3.4e38, and captioned."""
    index = faiss.index_factory(DIM, "IVF8_HNSW8,PQ32x4", faiss.METRIC_INNER_PRODUCT)
    index.train(EMBEDDINGS)
    index.add(EMBEDDINGS)
    http = serve(index, reorder_metadata_by_ivf_index=True, enable_hdf5=True)
    hits = found(http, caption_results=COUNT)
    assert 0 < len(hits) < COUNT
    assert all(hit["similarity"] > -2 and hit["caption"] for hit in hits)


def test_reordering_takes_the_columns_that_are_there(serve):
    """Without --columns_to_return clip-retrieval requires a column url, and the start ended in a KeyError."""
    index = faiss.index_factory(DIM, "IVF8_HNSW8,PQ32x4", faiss.METRIC_INNER_PRODUCT)
    index.train(EMBEDDINGS)
    index.add(EMBEDDINGS)
    flags = {"reorder_metadata_by_ivf_index": True, "enable_hdf5": True}
    with pytest.raises(DataError, match="has the columns caption: give some of them as --columns_to_return"):
        serve(index, **flags, columns_to_return=["caption", "licence"])


def test_metadata_of_every_type_are_json(serve):
    values = {
        "captions": [["a", "b"]] * COUNT,
        "taken": [pd.Timestamp("2020-01-02"), pd.NaT] * (COUNT // 2),
        "day": [datetime.date(2020, 1, 2)] * COUNT,
        "price": [decimal.Decimal("1.50")] * COUNT,
        "raw": [b"\xff"] * COUNT,
        "size": [{"width": 3, "tags": ["x"]}] * COUNT,
        "score": [np.nan, np.inf] * (COUNT // 2),
        "seen": [2**60] * COUNT,
    }
    http = serve(flat(), pd.DataFrame(values), columns_to_return=list(values))
    [best] = found(http, num_images=1, num_result_ids=1)
    del best["similarity"]
    assert best == {
        "id": 7, "captions": ["a", "b"], "taken": None, "day": "2020-01-02", "price": "1.50", "raw": "�",
        "size": {"width": 3, "tags": ["x"]}, "score": None, "seen": 2**60,
    }  # fmt: skip
    assert http.post("/metadata", json={"indice_name": "mine", "ids": [0]}).json[0]["metadata"]["taken"] == (
        "2020-01-02T00:00:00"
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(VALUES)
def test_any_value_is_valid_json(value):
    json.loads(json.dumps(json_value(value), allow_nan=False))


def test_metadata_shorter_than_the_index_end_the_start(serve):
    with pytest.raises(DataError, match="has 60 items and its metadata 59 rows"):
        serve(flat(), CAPTIONS[:-1])


def test_metadata_without_a_known_column_give_ids_and_a_warning(serve, caplog):
    hits = found(serve(flat(), CAPTIONS.rename(columns={"caption": "text"})))
    assert hits[0] == {"id": 7, "similarity": pytest.approx(1, abs=1e-3)} and len(hits) == COUNT
    assert "none of the columns url, image_path, caption, NSFW" in caplog.text
