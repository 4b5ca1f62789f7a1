"""`/export-service`: items as a Parquet file."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import requests

from clipgpt_retrieval.back.export import parquet_file


def test_items_are_exported_with_metadata_embeddings_and_captions(back_url, embeddings, clipgpt):
    body = {"indice_name": "demo", "ids": [7, 3], "captions": True}
    response = requests.post(f"{back_url}/export-service", json=body, timeout=60)
    assert response.headers["Content-Type"] == "application/vnd.apache.parquet"
    table = pq.read_table(io.BytesIO(response.content))
    assert table["id"].to_pylist() == [7, 3]
    assert set(table.column_names) > {"embedding", "clipgpt_caption"}
    exported = np.array(table["embedding"].to_pylist(), np.float32)
    np.testing.assert_allclose(exported, embeddings[[7, 3]], atol=1e-5)
    assert table["clipgpt_caption"].to_pylist() == clipgpt.caption(embeddings[[7, 3]])


@pytest.mark.parametrize("ids", [[999_999], list(range(1001)), "3"])
def test_ids_that_cannot_be_exported_are_refused(back_url, ids):
    response = requests.post(f"{back_url}/export-service", json={"indice_name": "demo", "ids": ids}, timeout=60)
    assert response.status_code in (400, 404, 413)
    assert response.json()["error"]["field"].startswith("ids")


def test_metadata_of_several_types_are_written_as_text():
    rows = [{"size": 3, "tags": ["a"]}, {"size": "large"}]
    table = pq.read_table(io.BytesIO(parquet_file([1, 2], rows, np.eye(2, 4, dtype=np.float32), None)))
    assert table["size"].to_pylist() == ["3", "large"]
    assert table["tags"].to_pylist() == [["a"], None]
    assert "clipgpt_caption" not in table.column_names


def test_no_items_are_an_empty_file():
    table = pq.read_table(io.BytesIO(parquet_file([], [], np.empty((0, 4), np.float32), [])))
    assert table.num_rows == 0
