"""`clipgpt-retrieval load` and `delete` with Milvus Lite: every row once, whatever interrupts them."""

import datetime
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from killing import killed_at_each_access
from support import run_cli, unit_rows, write_embeddings

from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.index.filters import parse_filter
from clipgpt_retrieval.ingest.delete import delete_from_milvus
from clipgpt_retrieval.ingest.load import load_folder
from clipgpt_retrieval.ingest.options import DeleteOptions, LoadOptions

COUNT = 60


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return unit_rows(COUNT)


@pytest.fixture
def folder(tmp_path, vectors) -> str:
    """An embeddings folder of two files."""
    for part, rows in enumerate((range(40), range(40, COUNT))):
        metadata = [{"caption": f"item {i}", "number": i, "key": f"k{i}"} for i in rows]
        write_embeddings(tmp_path / "source", vectors[rows.start : rows.stop], metadata, part=part)
    return str(tmp_path / "source")


def load(folder: str, lite: str, **flags):
    return load_folder(LoadOptions(folder, lite, "demo", **flags))


def opened(lite: str):
    from clipgpt_retrieval.index.milvus import MilvusCollection

    return MilvusCollection(lite, "demo")


def check_all(lite: str, vectors: np.ndarray) -> None:
    """Each row is there once, under its own id, with its own metadata."""
    items = opened(lite)
    assert len(items) == COUNT
    np.testing.assert_allclose(items.embeddings(range(COUNT)), vectors, atol=1e-6)
    assert [row["caption"] for row in items.metadata(range(COUNT))] == [f"item {i}" for i in range(COUNT)]
    assert items.search(vectors, 1)[1][:, 0].tolist() == list(range(COUNT))


def test_rows_have_their_positions_as_ids(folder, lite, vectors):
    assert load(folder, lite).rows == COUNT
    check_all(lite, vectors)


def test_the_same_folder_is_not_loaded_twice_and_new_files_of_it_are(folder, lite, tmp_path):
    load(folder, lite)
    assert (load(folder, lite).rows, load(folder, lite).skipped) == (0, 2)
    write_embeddings(Path(folder), unit_rows(3, seed=5), [{"caption": f"later {i}"} for i in range(3)], part=2)
    assert load(folder, lite).rows == 3
    assert [row["caption"] for row in opened(lite).metadata([60, 61, 62])] == ["later 0", "later 1", "later 2"]


def load_in_small_steps(folder: str, lite: str) -> None:
    import clipgpt_retrieval.ingest.load as module

    module.CHECKPOINT_ROWS = 20
    load(folder, lite, batch_size=10)


@pytest.mark.slow
def test_a_killed_load_starts_again_where_it_stopped(folder, tmp_path, vectors):
    manager = pytest.importorskip("milvus_lite.server_manager").server_manager_instance
    killed = 0
    while True:
        lite = str(tmp_path / f"killed_{killed}.db")
        accesses = killed_at_each_access(lite, load_in_small_steps, folder, lite, start=killed * 9)
        if next(accesses, None) is None:
            break
        load(folder, lite)
        check_all(lite, vectors)
        manager.release_server(lite)
        killed += 1
    assert killed > 2


def delete_all_but_ten(lite: str) -> None:
    delete_from_milvus(lite, "demo", [{"field": "number", "op": ">=", "value": 10}])


@pytest.mark.slow
def test_a_killed_delete_starts_again(folder, lite, tmp_path, vectors):
    manager = pytest.importorskip("milvus_lite.server_manager").server_manager_instance
    load(folder, lite)
    manager.release_server(lite)
    killed = 0
    for _ in killed_at_each_access(lite, delete_all_but_ten, lite, step=4):
        killed += 1
        left = len(opened(lite))
        assert left in (10, COUNT)
        manager.release_server(lite)
    assert killed > 1
    items = opened(lite)
    assert len(items) == 10
    assert items.search(vectors, 1)[1][:10, 0].tolist() == list(range(10))


def test_a_row_replaces_the_item_with_its_key(folder, lite, tmp_path, vectors):
    load(folder, lite, key="key")
    changed = unit_rows(3, seed=9)
    rows = [{"caption": name, "key": key} for name, key in (("new 5", "k5"), ("first", "added"), ("last", "added"))]
    write_embeddings(tmp_path / "changes", changed, rows)
    assert load(str(tmp_path / "changes"), lite, key="key").rows == 3
    items = opened(lite)
    assert len(items) == COUNT + 1
    assert items.metadata([5], ["caption"]) == [{"caption": "new 5"}]
    np.testing.assert_allclose(items.embeddings([5]), changed[:1], atol=1e-6)
    [[added]] = items.search(changed[2:], 1)[1]
    assert items.metadata([added], ["caption", "number"]) == [{"caption": "last", "number": None}]


def test_other_processes_load_and_delete_while_this_one_has_the_file_open(folder, lite, tmp_path, vectors):
    """Milvus Lite lets one process open a file: a back end would have to stop for every change."""
    load(folder, lite)
    items = opened(lite)
    write_embeddings(tmp_path / "more", unit_rows(2, seed=3), [{"caption": "more"}] * 2)
    printed = run_cli("load", tmp_path / "more", lite, "demo", check=True)
    assert "loaded 2 rows into demo" in printed.stdout
    before = items.revision
    assert len(items) == COUNT + 2
    chosen = '[{"field": "number", "op": "<", "value": 50}]'
    printed = run_cli("delete", "--milvus_uri", lite, "--collection", "demo", "--filter", chosen, check=True)
    assert "deleted 50 items of demo" in printed.stdout
    assert len(items) == 12
    assert items.revision != before
    assert 10 not in items.search(vectors[10:11], 12)[1]


def test_columns_of_any_name_and_type_come_back(lite, tmp_path):
    row = {
        "image path": "a",
        "ünï": 1,
        "in": "b",
        "item_id": 7,
        "clipgpt_text_61": "c",
        "taken": datetime.datetime(2024, 5, 31, 18, 0, 0, 250),
        "day": datetime.date(2024, 5, 31),
        "struct": {"a": [1, None], "b": "x"},
        "list": ["x", "y"],
        "score": 0.25,
        "safe": True,
    }
    write_embeddings(tmp_path / "source", unit_rows(1), [row])
    load(str(tmp_path / "source"), lite)
    items = opened(lite)
    assert items.metadata([0]) == [row]
    kept = parse_filter([{"field": "image path", "op": "=", "value": "a"}], items.fields())
    assert items.count(kept) == 1


def test_unusable_rows_are_left_out_and_counted(lite, tmp_path):
    rows = unit_rows(4)
    rows[1], rows[2] = np.nan, 0
    write_embeddings(tmp_path / "source", rows, [{"caption": f"item {i}"} for i in range(4)])
    done = load(str(tmp_path / "source"), lite)
    assert (done.rows, done.unusable) == (2, 2)
    assert opened(lite).metadata([0, 3]) == [{"caption": "item 0"}, {"caption": "item 3"}]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([{"caption": "x" * 70_000}], "row 0, column caption.*more than 65535 bytes"),
        ([{"number": np.uint64(2**63)}], "row 0, column number.*64 bits"),
    ],
)
def test_what_milvus_cannot_store_is_named(lite, tmp_path, rows, named):
    write_embeddings(tmp_path / "source", unit_rows(1), rows)
    with pytest.raises(DataError, match=named):
        load(str(tmp_path / "source"), lite)


def test_what_does_not_fit_is_refused(folder, lite, tmp_path):
    load(folder, lite)
    write_embeddings(tmp_path / "other", np.ones((1, 8), np.float32), [{"caption": "a"}])
    with pytest.raises(DataError, match="has dimension 64, the embeddings have 8"):
        load(str(tmp_path / "other"), lite)
    write_embeddings(tmp_path / "typed", unit_rows(1), [{"caption": 5}])
    with pytest.raises(DataError, match="column caption is integer in the metadata, and text in collection demo"):
        load(str(tmp_path / "typed"), lite)
    with pytest.raises(InputError, match="it must be a column of text or integers: caption, number, key"):
        load(folder, lite, key="missing")
    with pytest.raises(InputError, match="it must be a file ending in"):
        load_folder(LoadOptions(folder, str(tmp_path / "folder"), "demo"))
    with pytest.raises(InputError, match="index_folder: or milvus_uri is needed"):
        DeleteOptions(filter="{}")
    with pytest.raises(DataError, match="has no collection 'other'"):
        delete_from_milvus(lite, "other", [{"field": "number", "op": "=", "value": 1}])


HOLDER = """
import sys
from clipgpt_retrieval.index.milvus import MilvusCollection
items = MilvusCollection(sys.argv[1], "demo")
print(len(items), flush=True)
sys.stdin.readline()
"""


def test_a_back_end_outlives_the_process_that_opened_the_file_first(folder, tmp_path, vectors):
    """Such as a `load` that was running when the back end started."""
    manager = pytest.importorskip("milvus_lite.server_manager").server_manager_instance
    lite = str(tmp_path / "held.db")
    run_cli("load", folder, lite, "demo", check=True)
    command = [sys.executable, "-c", HOLDER, lite]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == f"{COUNT}\n"
        items = opened(lite)
        assert len(items) == COUNT
        holder.kill()
    check = items.search(vectors, 1)[1][:, 0].tolist()
    manager.release_server(lite)
    assert check == list(range(COUNT))
