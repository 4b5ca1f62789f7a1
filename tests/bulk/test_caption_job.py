"""Jobs that caption embeddings, in one process: formats, metadata and results."""

from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_helpers import CLIP_DIM, GENERATION, contents, npy_collection, output
from support import unit_rows

from clipgpt_retrieval.bulk.distributor import SequentialDistributor
from clipgpt_retrieval.bulk.main import run_job
from clipgpt_retrieval.errors import DataError

run = SequentialDistributor()


def test_npy_folders_keep_their_metadata(caption_job, clipgpt):
    embeddings = npy_collection(Path(caption_job.source), [10, 15])
    result = run_job(caption_job, run)
    _, table = output(caption_job.output_folder)
    assert result["shards_done"] == 5
    assert table.column("url").to_pylist() == [f"http://example.org/{i}" for i in range(25)]
    assert table.column("clipgpt_caption").to_pylist() == clipgpt.caption(embeddings, max_new_tokens=6)


def test_metadata_of_other_embeddings_is_refused(caption_job):
    """Otherwise captions would get the metadata of other images."""
    npy_collection(Path(caption_job.source), [9])
    rows = pd.DataFrame({"url": [f"http://example.org/{i}" for i in range(12)]})
    rows.to_parquet(Path(caption_job.source) / "metadata" / "metadata_0.parquet")
    with pytest.raises(DataError, match=r"metadata_0.parquet has 12 rows for the 9 embeddings of .*img_emb_0.npy"):
        run_job(caption_job, run)
    assert contents(caption_job.output_folder) == {}


def test_an_embedding_without_direction_keeps_its_row(caption_job):
    Path(caption_job.source).mkdir()
    embeddings = unit_rows(9)
    embeddings[2] = 0
    embeddings[5, 7] = np.nan
    np.save(Path(caption_job.source) / "all.npy", embeddings)
    result = run_job(caption_job, run)
    _, table = output(caption_job.output_folder)
    captions = table.column("clipgpt_caption").to_pylist()
    assert [row for row, caption in enumerate(captions) if caption is None] == [2, 5]
    assert result["rows_skipped"] == 2


def test_several_captions_are_ranked(caption_job, clipgpt):
    Path(caption_job.source).mkdir()
    np.save(Path(caption_job.source) / "all.npy", unit_rows(5))
    run_job(replace(caption_job, settings={**GENERATION, "num_captions": 2}), run)
    _, table = output(caption_job.output_folder)
    expected = [
        [one.text for one in captions] for captions in clipgpt.captions(unit_rows(5), num_captions=2, max_new_tokens=6)
    ]
    assert table.column("clipgpt_captions").to_pylist() == expected
    assert table.column("clipgpt_caption").to_pylist() == [captions[0] for captions in expected]


@pytest.mark.parametrize("fixed", [True, False])
def test_parquet_columns_of_embeddings(caption_job, clipgpt, fixed):
    Path(caption_job.source).mkdir()
    embeddings = unit_rows(12)
    type_ = pa.list_(pa.float32(), CLIP_DIM if fixed else -1)
    table = pa.table({"embedding": pa.array(embeddings.tolist(), type_), "key": pa.array(range(12))})
    pq.write_table(table, Path(caption_job.source) / "a.parquet", row_group_size=5)
    run_job(caption_job, run)
    _, captioned = output(caption_job.output_folder)
    assert captioned.column("clipgpt_caption").to_pylist() == clipgpt.caption(embeddings, max_new_tokens=6)
    assert captioned.column("key").to_pylist() == list(range(12))


def test_a_row_without_an_embedding_is_kept(caption_job):
    """As of an image that could not be downloaded."""
    rows = [*unit_rows(4).tolist(), None, *unit_rows(4).tolist()]
    Path(caption_job.source).mkdir()
    pq.write_table(pa.table({"embedding": pa.array(rows)}), Path(caption_job.source) / "a.parquet")
    result = run_job(caption_job, run)
    captions = output(caption_job.output_folder)[1].column("clipgpt_caption").to_pylist()
    assert [row for row, caption in enumerate(captions) if caption is None] == [4] and result["rows_skipped"] == 1
    assert captions[:4] == captions[5:]


@pytest.mark.parametrize("kind", ["Flat", "IVF4,Flat", "OPQ8,IVF4,SQ8"])
@pytest.mark.parametrize("storage", ["local", "memory"])
def test_an_index_is_captioned_in_the_order_of_its_ids(caption_job, clipgpt, tmp_path, kind, storage):
    import faiss

    from clipgpt_retrieval.index.items import Items

    embeddings = unit_rows(300)
    index = faiss.index_factory(CLIP_DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(embeddings)
    index.add(embeddings)
    file = tmp_path / "image.index"
    faiss.write_index(index, str(file))
    source = str(tmp_path)
    if storage == "memory":
        source = f"memory://{kind}"
        fsspec.filesystem("memory").put_file(str(file), f"{source}/image.index")
    run_job(replace(caption_job, source=source, write_batch_size=128, batch_size=64), run)
    _, table = output(caption_job.output_folder)
    expected = clipgpt.caption(Items(index).embeddings(range(300)), max_new_tokens=6)
    assert table.column("clipgpt_caption").to_pylist() == expected
    assert table.column("input_row").to_pylist() == list(range(300))


def test_the_mapping_of_a_reordered_index_is_not_read_as_embeddings(caption_job, clipgpt, tmp_path):
    """clip-retrieval leaves ivf_old_to_new_mapping.npy beside the index, which has no .npy header."""
    import faiss

    index = faiss.IndexFlatIP(CLIP_DIM)
    index.add(unit_rows(3))
    faiss.write_index(index, str(tmp_path / "image.index"))
    np.arange(3).tofile(tmp_path / "ivf_old_to_new_mapping.npy")
    run_job(replace(caption_job, source=str(tmp_path)), run)
    _, table = output(caption_job.output_folder)
    assert table.column("clipgpt_caption").to_pylist() == clipgpt.caption(unit_rows(3), max_new_tokens=6)
