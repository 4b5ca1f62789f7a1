"""Metadata in batches are those that clip-retrieval's own providers return, whatever files it reads."""

import datetime
import math

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clip_retrieval.clip_back import (
    ArrowMetadataProvider,
    Hdf5MetadataProvider,
    ParquetMetadataProvider,
    parquet_to_hdf5,
)
from support import unit_rows

from clipgpt_retrieval.index.conditions import matching_rows
from clipgpt_retrieval.index.faiss_collection import FaissCollection
from clipgpt_retrieval.index.filters import parse_filter
from clipgpt_retrieval.index.metadata_columns import ArrowColumns, Hdf5Columns, ParquetColumns, fields_of
from clipgpt_retrieval.index.metadata_rows import ArrowRows, FrameRows, Hdf5Rows, ParquetRows

ROWS = 500
SIZES = (120, 1, 379)
"""Rows of each file."""


def rows(start: int, count: int) -> pa.Table:
    items = range(start, start + count)
    columns = {
        "caption": [None if i % 7 == 6 else f"naïve 猫 {i}" for i in items],
        "width": [100 + i for i in items],
        "score": [None if i % 5 == 4 else i / 8 for i in items],
    }
    if start:  # the first file lacks a column, and has another as integers
        columns["licence"] = ["cc" if i % 2 else "?" for i in items]
    else:
        columns["score"] = list(items)
    return pa.table(columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metadata")
    for name in ("metadata", "arrow", "typed"):
        (folder / name).mkdir()
    start = 0
    for part, size in enumerate(SIZES):
        table = rows(start, size)
        pq.write_table(table, folder / "metadata" / f"metadata_{part}.parquet", row_group_size=50)
        # clip-retrieval concatenates arrow tables and appends hdf5 datasets of one schema only.
        same = pa.table({"caption": table["caption"], "width": table["width"], "score": table["score"].cast("float64")})
        pq.write_table(same, folder / "typed" / f"metadata_{part}.parquet")
        with (
            pa.OSFile(str(folder / "arrow" / f"{part}.arrow"), "wb") as file,
            pa.ipc.new_file(file, same.schema) as writer,
        ):
            writer.write_table(same, max_chunksize=64)
        start += size
    parquet_to_hdf5(str(folder / "typed"), str(folder / "metadata.hdf5"), ["caption", "width", "score"])
    return folder


@pytest.fixture(params=["parquet", "arrow", "hdf5"])
def kind(request, folder):
    """clip-retrieval's provider, our rows, our columns."""
    if request.param == "parquet":
        provider = ParquetMetadataProvider(str(folder / "metadata"))
        return provider, FrameRows(provider.metadata_df), ParquetColumns(sorted((folder / "metadata").iterdir()))
    if request.param == "arrow":
        provider = ArrowMetadataProvider(str(folder / "arrow"))
        return provider, ArrowRows(lambda: provider.table), ArrowColumns(sorted((folder / "arrow").iterdir()))
    provider = Hdf5MetadataProvider(str(folder / "metadata.hdf5"))
    return provider, Hdf5Rows(lambda: provider.ds), Hdf5Columns(folder / "metadata.hdf5")


def plain(found: list[dict]) -> list[dict]:
    """Rows that compare equal where both have NaN."""
    return [
        {name: "NaN" if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in found
    ]


@pytest.mark.parametrize("columns", [["caption", "width", "none"], ["score", "caption"], None])
def test_rows_are_those_of_clip_retrieval(kind, columns):
    provider, ours, _ = kind
    ids = [ROWS - 1, 0, 119, 120, 121, 7, 0, 300]
    assert plain(ours.get(np.array(ids), columns)) == plain(provider.get(ids, columns))
    assert ours.get(np.array([], np.int64), columns) == []
    assert ours.get(np.array([1, 2]), ["none"]) == [{}, {}]


def test_parquet_rows_are_read_by_row_group(folder):
    read = ParquetRows(sorted((folder / "metadata").iterdir())).get(np.array([121, 3, 121, 499]), ["width", "licence"])
    assert [row["width"] for row in read] == [221, 103, 221, 599]
    assert [row.get("licence") for row in read] == ["cc", None, "cc", "cc"]


def test_a_filter_keeps_the_same_rows_of_all_files(kind, folder):
    _, _, columns = kind
    wide = [{"field": "width", "op": ">=", "value": 590}, {"field": "caption", "op": "contains", "value": "猫"}]
    kept = matching_rows(columns, parse_filter(wide, fields_of(columns.schema)), ROWS)
    assert np.flatnonzero(kept).tolist() == [i for i in range(490, 500) if i % 7 != 6]
    scored = [{"field": "score", "op": "<=", "value": 1}, {"field": "width", "op": "<", "value": 110}]
    kept = matching_rows(columns, parse_filter(scored, fields_of(columns.schema)), ROWS)
    assert np.flatnonzero(kept).tolist() == [0, 1]


def test_a_column_that_files_lack_or_type_differently(folder):
    columns = ParquetColumns(sorted((folder / "metadata").iterdir()))
    types = {field.name: field.type for field in fields_of(columns.schema)}
    assert types == {"caption": "text", "width": "integer", "score": "number", "licence": "text"}
    missing = parse_filter([{"field": "licence", "op": "exists", "value": False}], fields_of(columns.schema))
    assert np.flatnonzero(matching_rows(columns, missing, ROWS)).tolist() == list(range(120))


def test_columns_of_rare_types(tmp_path):
    """Dictionaries, small and unsigned integers, half floats, decimals, dates, times with a zone."""
    import decimal

    utc = datetime.timezone.utc
    table = pa.table(
        {
            "kind": pa.array(["a", None, "b"]).dictionary_encode(),
            "byte": pa.array([1, 255, None], pa.uint8()),
            "long": pa.array([2**64 - 1, 0, None], pa.uint64()),
            "half": pa.array(np.array([0.5, np.nan, 2], np.float16)),
            "price": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("2.25")]),
            "day": pa.array([datetime.date(2020, 1, 2), None, datetime.date(2021, 1, 2)]),
            "seen": pa.array(
                [datetime.datetime(2020, 1, 2, tzinfo=utc), None, None], pa.timestamp("ns", "Europe/Paris")
            ),
            "nested": pa.array([{"x": 1}, None, {"x": 2}]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    columns = ParquetColumns([tmp_path / "a.parquet"])
    fields = fields_of(columns.schema)

    def kept(field, op, value=None):
        condition = {"field": field, "op": op, "value": value}
        return np.flatnonzero(matching_rows(columns, parse_filter([condition], fields), 3)).tolist()

    assert kept("kind", "=", "b") == [2]
    assert kept("byte", ">", 254) == [1] and kept("byte", "<", 300) == [0, 1] and kept("byte", "=", -1) == []
    assert kept("long", "=", 2**64 - 1) == [0] and kept("long", ">=", -5) == [0, 1]
    assert kept("half", "exists") == [0, 2] and kept("half", "<=", 0.5) == [0]
    assert kept("price", "=", 1.5) == [0]
    assert kept("day", ">", "2020-06-01") == [2]
    assert kept("seen", "=", "2020-01-02T01:00+01:00") == [0]
    assert kept("nested", "exists", False) == [1]


@pytest.mark.parametrize("kind", ["Flat", "IVF8,Flat"])
@pytest.mark.parametrize("kept", [5, 400])
def test_a_filter_in_an_index_of_squared_distances(tmp_path, kind, kept):
    vectors = unit_rows(ROWS, dim=16)
    index = faiss.index_factory(16, kind, faiss.METRIC_L2)
    index.train(vectors)
    index.add(vectors)
    pq.write_table(rows(0, ROWS), tmp_path / "a.parquet")
    collection = FaissCollection(index, columns=ParquetColumns([tmp_path / "a.parquet"]))
    filter = parse_filter([{"field": "width", "op": "<", "value": 100 + kept}], collection.fields())
    similarities, ids = collection.search(vectors[490:491], 5, filter)
    distances = ((vectors[:kept] - vectors[490]) ** 2).sum(1)
    if kind == "Flat" or kept == 5:
        assert ids[0].tolist() == np.argsort(distances)[:5].tolist()
    assert (ids < kept).all()
    np.testing.assert_allclose(similarities[0], distances[ids[0]], atol=1e-5)
