"""Jobs that encode texts, in one process: formats, metadata and results."""

import json
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_helpers import CLIP_DIM, contents, output, some_texts, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.bulk.command import encode
from clipgpt_retrieval.bulk.distributor import SequentialDistributor
from clipgpt_retrieval.bulk.job import Job, Shard
from clipgpt_retrieval.bulk.lines_reader import LinesReader
from clipgpt_retrieval.bulk.main import run_job
from clipgpt_retrieval.bulk.mapper import make_mapper
from clipgpt_retrieval.engine import load
from clipgpt_retrieval.errors import ClipGptError, DataError, ModelError
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel

run = SequentialDistributor()


def test_embeddings_are_those_of_the_engine(encode_job, clipgpt):
    texts = some_texts(30)
    write_lines(encode_job.source, texts)
    result = run_job(encode_job, run)
    embeddings, table = output(encode_job.output_folder)
    assert result["rows_done"] == 30 and result["shards_done"] == 5 and result["failed"] == []
    assert table.column("caption").to_pylist() == texts
    assert table.column("input_row").to_pylist() == list(range(30))
    np.testing.assert_allclose(embeddings.astype(np.float32), clipgpt.encode(texts), atol=1e-3)


def test_a_job_blends_as_the_engine_does_and_all_machines_alike(searching_path, tmp_path, capsys):
    """Rows of a machine that cannot load CLIP would be of another space, among the others."""
    texts = some_texts(12)
    write_lines(str(tmp_path / "texts.txt"), texts)
    encode(input=str(tmp_path / "texts.txt"), output_folder=str(tmp_path / "out"), model=searching_path)
    assert "CLIP-GPT and the text tower of open_clip:tiny-clip" in capsys.readouterr().err
    engine = load(searching_path, device="cpu")
    embeddings, _ = output(str(tmp_path / "out"))
    np.testing.assert_allclose(embeddings.astype(np.float32), engine.encode(texts), atol=1e-3)

    engine.model.config.clip_model = "open_clip:tiny-clip/nowhere.pt"
    checkpoint.save(engine.model, engine.sequences.tokenizer, str(tmp_path / "model"))
    encode(input=str(tmp_path / "texts.txt"), output_folder=str(tmp_path / "alone"), model=str(tmp_path / "model"))
    embeddings, _ = output(str(tmp_path / "alone"))
    expected = engine.encode(texts, use_text_tower=False)
    np.testing.assert_allclose(embeddings.astype(np.float32), expected, atol=1e-3)
    without = load(str(tmp_path / "model"), device="cpu")
    of_both = {"space": "query", "text_tower": True}
    job = Job("encode", "texts.txt", "out", "model", "caption", 100, of_both, 64, "cpu", 0)
    with pytest.raises(ModelError, match=r"nowhere\.pt, whose text tower this job uses, cannot be loaded"):
        make_mapper(job, without)


def test_a_byte_order_mark_is_dropped(encode_job):
    """Editors on Windows write it."""
    Path(encode_job.source).write_text("a dog\r\na cat\r\n", encoding="utf-8-sig")
    run_job(encode_job, run)
    assert output(encode_job.output_folder)[1].column("caption").to_pylist() == ["a dog", "a cat"]


def test_a_column_of_another_type_is_refused(encode_job, tmp_path):
    """All rows would be skipped."""
    table = pa.table({"caption": pa.array([b"a dog", b"a cat"]), "kind": pa.array(["a dog", None]).dictionary_encode()})
    pq.write_table(table, tmp_path / "texts.parquet")
    job = replace(encode_job, source=str(tmp_path / "texts.parquet"))
    with pytest.raises(DataError, match="column 'caption' has type binary: texts are strings"):
        run_job(job, run)
    assert run_job(replace(job, column="kind"), run)["rows_skipped"] == 1


def test_the_image_space(encode_job, clipgpt):
    write_lines(encode_job.source, some_texts(9))
    run_job(replace(encode_job, settings={"space": "image"}), run)
    embeddings, _ = output(encode_job.output_folder)
    expected = clipgpt.encode(some_texts(9), space="image")
    np.testing.assert_allclose(embeddings.astype(np.float32), expected, atol=1e-3)


def test_unusable_texts_are_skipped_and_counted(encode_job):
    texts = ["a dog", "", "   ", "a word " * 60, "a cat", "y" * 300, *some_texts(10)]
    write_lines(encode_job.source, texts)
    result = run_job(encode_job, run)
    embeddings, table = output(encode_job.output_folder)
    assert table.column("input_row").to_pylist() == [0, 4, *range(6, 16)]
    assert len(embeddings) == 12 and result["rows_skipped"] == 4


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_other_columns_become_metadata(encode_job, tmp_path, kind):
    rows = pd.DataFrame({"alt": some_texts(20), "url": [f"u{i}" for i in range(20)], "width": range(20)})
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, part in enumerate((rows[:11], rows[11:])):
        if kind == "parquet":
            part.to_parquet(folder / f"part_{number}.parquet", row_group_size=4)
        else:
            part.to_json(folder / f"part_{number}.jsonl", orient="records", lines=True)
    run_job(replace(encode_job, source=str(folder), column="alt"), run)
    _, table = output(encode_job.output_folder)
    assert table.column("caption").to_pylist() == list(rows["alt"])
    assert table.column("url").to_pylist() == list(rows["url"])
    assert table.column("width").to_pylist() == list(rows["width"])
    assert table.column("input_file").to_pylist() == [f"part_0.{kind}"] * 11 + [f"part_1.{kind}"] * 9


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_column_with_the_name_of_a_new_one_is_renamed(encode_job, tmp_path, kind):
    """Otherwise --text_column alt would drop the column caption, and input_row of an earlier job."""
    rows = pd.DataFrame({"alt": some_texts(9), "caption": [f"by hand {i}" for i in range(9)]})
    rows["input_row"] = range(9, 18)
    rows["input_input_row"] = [f"older {i}" for i in range(9)]
    if kind == "parquet":
        rows.to_parquet(tmp_path / "texts.parquet")
    else:
        rows.to_json(tmp_path / "texts.jsonl", orient="records", lines=True)
    run_job(replace(encode_job, source=str(tmp_path / f"texts.{kind}"), column="alt"), run)
    _, table = output(encode_job.output_folder)
    assert table.column("caption").to_pylist() == list(rows["alt"])
    assert table.column("input_caption").to_pylist() == list(rows["caption"])
    assert table.column("input_row").to_pylist() == list(range(9))
    assert table.column("input_input_row").to_pylist() == list(rows["input_input_row"])
    assert table.column("input_input_input_row").to_pylist() == list(rows["input_row"])


def test_a_shard_without_a_text_does_not_fail_the_job(encode_job, tmp_path):
    """Such as an empty last line."""
    lines = [*(json.dumps({"caption": text}) for text in some_texts(7)), "", '{"caption": null}']
    write_lines(str(tmp_path / "texts.jsonl"), lines)
    result = run_job(replace(encode_job, source=str(tmp_path / "texts.jsonl")), run)
    embeddings, table = output(encode_job.output_folder)
    assert len(embeddings) == len(table) == 7 and result["rows_skipped"] == 2 and result["shards_done"] == 2


def test_objects_without_keys_become_null(encode_job, tmp_path):
    """Parquet has no type for them."""
    lines = ['{"caption": "a dog", "tags": {}, "seen": [{}]}', '{"caption": "a cat", "tags": {}}']
    write_lines(str(tmp_path / "texts.jsonl"), lines)
    run_job(replace(encode_job, source=str(tmp_path / "texts.jsonl")), run)
    assert output(encode_job.output_folder)[1].column("tags").to_pylist() == [None, None]


def test_lone_surrogates_are_replaced(encode_job, tmp_path):
    """Scraped texts may be cut within an emoji."""
    lines = [r'{"caption": "a cat \ud83d", "by": "x"}', r'{"caption": "a cow \ud83d\ude00", "by": "y \udc00"}']
    lines += [r'{"caption": "a dog", "tags": [{"\ud83d": "\ud83d"}]}']
    write_lines(str(tmp_path / "texts.jsonl"), lines)
    run_job(replace(encode_job, source=str(tmp_path / "texts.jsonl")), run)
    _, table = output(encode_job.output_folder)
    assert table.column("caption").to_pylist() == ["a cat ?", "a cow \U0001f600", "a dog"]
    assert table.column("by").to_pylist() == ["x", "y ?", None]
    assert table.column("tags").to_pylist() == [None, None, [{"?": "?"}]]


def test_a_deeply_nested_line_is_skipped(encode_job, tmp_path):
    lines = ['{"caption": "a cat"}', "[" * 100_000, '{"caption": "a dog"}']
    write_lines(str(tmp_path / "texts.jsonl"), lines)
    result = run_job(replace(encode_job, source=str(tmp_path / "texts.jsonl")), run)
    assert output(encode_job.output_folder)[1].column("input_row").to_pylist() == [0, 2]
    assert result["rows_skipped"] == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(blacklist_characters="\n\r\0\ufeff", blacklist_categories=["Cs"]), max_size=5),
        max_size=40,
    ),
    st.integers(1, 9),
    st.booleans(),
)
def test_lines_are_cut_into_shards_without_loss(lines, size, closed):
    fs = fsspec.filesystem("memory")
    raw = "\n".join(lines) + ("\n" if closed and lines else "")
    fs.pipe_file("/lines.txt", raw.encode())
    reader = LinesReader(fs, ["/lines.txt"])
    shards = [Shard("x", "/lines.txt", s.start, s.stop, s.byte_range) for s in reader.spans("/lines.txt", size)]
    read = [text for shard in shards for text in reader.read(shard).values]
    assert read == (raw.removesuffix("\n").split("\n") if raw else [])
    assert all(len(shard) == size for shard in shards[:-1])


def test_in_and_out_may_be_any_file_system(encode_job, clipgpt):
    texts = some_texts(15)
    fsspec.filesystem("memory").pipe_file("/in/texts.txt", "\n".join(texts).encode())
    job = replace(encode_job, source="memory://in/texts.txt", output_folder="memory://out/deep/er")
    run_job(job, run)
    embeddings, table = output(job.output_folder)
    assert table.column("caption").to_pylist() == texts
    np.testing.assert_allclose(embeddings.astype(np.float32), clipgpt.encode(texts), atol=1e-3)
    assert not [file for file in fsspec.filesystem("memory").find("/out") if file.endswith(".part")]


def test_clip_retrieval_indexes_the_output(encode_job, clipgpt, tmp_path):
    import faiss
    from clip_retrieval.clip_index import clip_index

    texts = some_texts(60)
    write_lines(encode_job.source, texts)
    run_job(encode_job, run)
    folder = tmp_path / "index"
    clip_index(encode_job.output_folder, str(folder), max_index_memory_usage="1G", current_memory_available="2G")
    index = faiss.read_index(str(folder / "image.index"))
    metadata = pd.concat([pd.read_parquet(file) for file in sorted((folder / "metadata").glob("*.parquet"))])
    _, ids = index.search(clipgpt.encode([texts[41]]), 1)
    assert index.ntotal == 60 and metadata["caption"].iloc[ids[0, 0]] == texts[41]


def test_a_model_that_only_captions_is_refused(encode_job, tmp_path):
    """All rows would be skipped."""
    model, tokenizer, _ = checkpoint.load(encode_job.model)
    config = ClipGptConfig(model.config.backbone_config, clip_dim=CLIP_DIM, clip_out="none")
    checkpoint.save(ClipGptModel(config), tokenizer, str(tmp_path / "captions_only"))
    write_lines(encode_job.source, some_texts(3))
    with pytest.raises(ClipGptError, match="captions_only only captions: give a model that encodes"):
        run_job(replace(encode_job, model=str(tmp_path / "captions_only")), run)
    assert contents(encode_job.output_folder) == {}


@pytest.mark.parametrize("codec", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
def test_texts_with_a_byte_order_mark_are_read(encode_job, tmp_path, codec, suffix):
    """UTF-16 gave a row too many, and embeddings of mojibake."""
    texts = [*some_texts(20), "\u0a05\u0100 ein Mädchen"]
    lines = texts if suffix == "txt" else [json.dumps({"caption": text}, ensure_ascii=False) for text in texts]
    (tmp_path / f"texts.{suffix}").write_bytes(("\r\n".join(lines) + "\r\n").encode(codec))
    run_job(replace(encode_job, source=str(tmp_path / f"texts.{suffix}")), run)
    assert output(encode_job.output_folder)[1].column("caption").to_pylist() == texts


@pytest.mark.parametrize("codec", ["latin-1", "utf-16-le"])
def test_text_of_another_encoding_is_refused_with_its_line(encode_job, codec):
    Path(encode_job.source).write_bytes("a dog\na cat\nein Mädchen\n".encode(codec))
    with pytest.raises(DataError, match=r"texts\.txt, line [13]: .* UTF-8 text: save the file as UTF-8"):
        run_job(encode_job, run)
    assert not list(Path(encode_job.output_folder).glob("metadata/*"))
