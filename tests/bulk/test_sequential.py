"""A collection encoded and captioned in one process: what comes out, and what a restart does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_helpers import CLIP_DIM, GENERATION, contents, output, report, some_texts, unit_rows, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from clipgpt_retrieval.bulk.distributor import SequentialDistributor
from clipgpt_retrieval.bulk.job import Run, Shard
from clipgpt_retrieval.bulk.lines_reader import LinesReader
from clipgpt_retrieval.bulk.main import run_job
from clipgpt_retrieval.bulk.worker import worker
from clipgpt_retrieval.bulk.writer import ShardWriter
from clipgpt_retrieval.errors import ClipGptError, DataError, ModelError
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel

run = SequentialDistributor()


def npy_collection(folder: Path, counts: list[int], with_metadata: bool = True) -> np.ndarray:
    """A folder as clip-retrieval inference leaves it, and its embeddings."""
    embeddings = unit_rows(sum(counts), seed=3)
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    start = 0
    for number, count in enumerate(counts):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", embeddings[start : start + count].astype(np.float16))
        if with_metadata:
            rows = pd.DataFrame({"url": [f"http://example.org/{i}" for i in range(start, start + count)]})
            rows.to_parquet(folder / "metadata" / f"metadata_{number}.parquet", row_group_size=5)
        start += count
    return embeddings.astype(np.float16)


def test_texts_become_the_embeddings_that_the_engine_predicts(encode_job, clipgpt):
    texts = some_texts(30)
    write_lines(encode_job.source, texts)
    told = run_job(encode_job, run)
    embeddings, table = output(encode_job.output_folder)
    assert told["rows_done"] == 30 and told["shards_done"] == 5 and told["failed"] == []
    assert table.column("caption").to_pylist() == texts
    assert table.column("input_row").to_pylist() == list(range(30))
    np.testing.assert_allclose(embeddings.astype(np.float32), clipgpt.encode(texts), atol=1e-3)


def test_the_mark_that_begins_a_file_is_no_part_of_its_first_text(encode_job):
    """Editors on Windows write it, and the first row's embedding was that of another text."""
    Path(encode_job.source).write_text("a dog\r\na cat\r\n", encoding="utf-8-sig")
    run_job(encode_job, run)
    assert output(encode_job.output_folder)[1].column("caption").to_pylist() == ["a dog", "a cat"]


def test_a_column_that_holds_no_texts_is_refused(encode_job, tmp_path):
    """Each row counted as one without a text, and the job as done, with nothing in it."""
    table = pa.table({"caption": pa.array([b"a dog", b"a cat"]), "kind": pa.array(["a dog", None]).dictionary_encode()})
    pq.write_table(table, tmp_path / "texts.parquet")
    job = replace(encode_job, source=str(tmp_path / "texts.parquet"))
    with pytest.raises(DataError, match="column 'caption' has type binary: texts are strings"):
        run_job(job, run)
    assert run_job(replace(job, column="kind"), run)["rows_skipped"] == 1


def test_the_image_space_is_another(encode_job, clipgpt):
    write_lines(encode_job.source, some_texts(9))
    run_job(replace(encode_job, settings={"space": "image"}), run)
    embeddings, _ = output(encode_job.output_folder)
    expected = clipgpt.encode(some_texts(9), space="image")
    np.testing.assert_allclose(embeddings.astype(np.float32), expected, atol=1e-3)


def test_texts_that_no_model_can_read_are_left_out_and_counted(encode_job):
    texts = ["a dog", "", "   ", "a word " * 60, "a cat", "y" * 300, *some_texts(10)]
    write_lines(encode_job.source, texts)
    told = run_job(encode_job, run)
    embeddings, table = output(encode_job.output_folder)
    assert table.column("input_row").to_pylist() == [0, 4, *range(6, 16)]
    assert len(embeddings) == 12 and told["rows_skipped"] == 4


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_other_columns_stay_beside_their_texts(encode_job, tmp_path, kind):
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
def test_a_column_called_as_one_of_ours_is_kept_under_another_name(encode_job, tmp_path, kind):
    """--text_column alt dropped captions that people wrote, and the rows that an earlier job had noted."""
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
    """An empty last line, alone in its shard, failed however often the command was given."""
    lines = [*(json.dumps({"caption": text}) for text in some_texts(7)), "", '{"caption": null}']
    write_lines(str(tmp_path / "texts.jsonl"), lines)
    told = run_job(replace(encode_job, source=str(tmp_path / "texts.jsonl")), run)
    embeddings, table = output(encode_job.output_folder)
    assert len(embeddings) == len(table) == 7 and told["rows_skipped"] == 2 and told["shards_done"] == 2


def test_objects_without_keys_are_handed_on_as_nothing(encode_job, tmp_path):
    """Parquet has no type for them: a shard of them could be encoded but not written."""
    lines = ['{"caption": "a dog", "tags": {}, "seen": [{}]}', '{"caption": "a cat", "tags": {}}']
    write_lines(str(tmp_path / "texts.jsonl"), lines)
    run_job(replace(encode_job, source=str(tmp_path / "texts.jsonl")), run)
    assert output(encode_job.output_folder)[1].column("tags").to_pylist() == [None, None]


def test_half_an_emoji_costs_nothing_but_itself(encode_job, tmp_path):
    """Scraped texts are cut anywhere: one such line took its whole shard with it, and the job could never end."""
    lines = [r'{"caption": "a cat \ud83d", "by": "x"}', r'{"caption": "a cow \ud83d\ude00", "by": "y \udc00"}']
    lines += [r'{"caption": "a dog", "tags": [{"\ud83d": "\ud83d"}]}']
    write_lines(str(tmp_path / "texts.jsonl"), lines)
    run_job(replace(encode_job, source=str(tmp_path / "texts.jsonl")), run)
    _, table = output(encode_job.output_folder)
    assert table.column("caption").to_pylist() == ["a cat ?", "a cow \U0001f600", "a dog"]
    assert table.column("by").to_pylist() == ["x", "y ?", None]
    assert table.column("tags").to_pylist() == [None, None, [{"?": "?"}]]


def test_a_line_nested_without_end_is_left_out_alone(encode_job, tmp_path):
    lines = ['{"caption": "a cat"}', "[" * 100_000, '{"caption": "a dog"}']
    write_lines(str(tmp_path / "texts.jsonl"), lines)
    told = run_job(replace(encode_job, source=str(tmp_path / "texts.jsonl")), run)
    assert output(encode_job.output_folder)[1].column("input_row").to_pylist() == [0, 2]
    assert told["rows_skipped"] == 1


def test_npy_folders_keep_their_metadata_and_gain_captions(caption_job, clipgpt):
    embeddings = npy_collection(Path(caption_job.source), [10, 15])
    told = run_job(caption_job, run)
    _, table = output(caption_job.output_folder)
    assert told["shards_done"] == 5
    assert table.column("url").to_pylist() == [f"http://example.org/{i}" for i in range(25)]
    assert table.column("clipgpt_caption").to_pylist() == clipgpt.caption(embeddings, max_new_tokens=6)


def test_metadata_of_other_embeddings_is_refused(caption_job):
    """With more rows than there are embeddings, captions came to stand beside other images' urls."""
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
    told = run_job(caption_job, run)
    _, table = output(caption_job.output_folder)
    captions = table.column("clipgpt_caption").to_pylist()
    assert [row for row, caption in enumerate(captions) if caption is None] == [2, 5]
    assert told["rows_skipped"] == 2


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


def test_a_row_without_an_embedding_keeps_its_place(caption_job):
    """An image that could not be fetched has none: one such row failed the shard that it stood in, for ever."""
    rows = [*unit_rows(4).tolist(), None, *unit_rows(4).tolist()]
    Path(caption_job.source).mkdir()
    pq.write_table(pa.table({"embedding": pa.array(rows)}), Path(caption_job.source) / "a.parquet")
    told = run_job(caption_job, run)
    captions = output(caption_job.output_folder)[1].column("clipgpt_caption").to_pylist()
    assert [row for row, caption in enumerate(captions) if caption is None] == [4] and told["rows_skipped"] == 1
    assert captions[:4] == captions[5:]


@pytest.mark.parametrize("kind", ["Flat", "IVF4,Flat", "OPQ8,IVF4,SQ8"])
@pytest.mark.parametrize("place", ["local", "memory"])
def test_an_index_is_captioned_in_the_order_of_its_ids(caption_job, clipgpt, tmp_path, kind, place):
    import faiss

    from clipgpt_retrieval.index.items import Items

    embeddings = unit_rows(300)
    index = faiss.index_factory(CLIP_DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(embeddings)
    index.add(embeddings)
    file = tmp_path / "image.index"
    faiss.write_index(index, str(file))
    source = str(tmp_path)
    if place == "memory":
        source = f"memory://{kind}"
        fsspec.filesystem("memory").put_file(str(file), f"{source}/image.index")
    run_job(replace(caption_job, source=source, write_batch_size=128, batch_size=64), run)
    _, table = output(caption_job.output_folder)
    expected = clipgpt.caption(Items(index).embeddings(range(300)), max_new_tokens=6)
    assert table.column("clipgpt_caption").to_pylist() == expected
    assert table.column("input_row").to_pylist() == list(range(300))


def test_in_and_out_may_be_any_file_system(encode_job, clipgpt):
    texts = some_texts(15)
    fsspec.filesystem("memory").pipe_file("/in/texts.txt", "\n".join(texts).encode())
    job = replace(encode_job, source="memory://in/texts.txt", output_folder="memory://out/deep/er")
    run_job(job, run)
    embeddings, table = output(job.output_folder)
    assert table.column("caption").to_pylist() == texts
    np.testing.assert_allclose(embeddings.astype(np.float32), clipgpt.encode(texts), atol=1e-3)
    assert not [file for file in fsspec.filesystem("memory").find("/out") if file.endswith(".part")]


def test_clip_retrieval_indexes_and_finds_what_was_encoded(encode_job, clipgpt, tmp_path):
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


def test_a_done_shard_is_not_done_again_and_a_lost_one_is(encode_job):
    write_lines(encode_job.source, some_texts(30))
    run_job(encode_job, run)
    whole = contents(encode_job.output_folder)
    metadata = Path(encode_job.output_folder) / "metadata"
    (metadata / "metadata_00000_00002.parquet").unlink()
    times = {file: file.stat().st_mtime_ns for file in metadata.iterdir()}
    told = run_job(encode_job, run)
    assert contents(encode_job.output_folder) == whole
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())
    assert told["rows_done"] == 30


def test_sampled_captions_do_not_depend_on_the_order_of_work(caption_job):
    Path(caption_job.source).mkdir()
    np.save(Path(caption_job.source) / "all.npy", unit_rows(20))
    job = replace(caption_job, settings={**GENERATION, "temperature": 1.0})
    run_job(job, run)
    whole = contents(job.output_folder)
    (Path(job.output_folder) / "metadata" / "metadata_00000_00001.parquet").unlink()
    run_job(job, run)
    assert contents(job.output_folder) == whole


def test_a_changed_input_is_refused(encode_job):
    write_lines(encode_job.source, some_texts(20))
    run_job(encode_job, run)
    write_lines(encode_job.source, some_texts(21))
    with pytest.raises(DataError, match=r"texts.txt has changed since"):
        run_job(encode_job, run)


def test_changed_metadata_is_refused(caption_job):
    npy_collection(Path(caption_job.source), [8])
    run_job(caption_job, run)
    other = pd.DataFrame({"url": ["http://example.org/other"] * 8})
    other.to_parquet(Path(caption_job.source) / "metadata" / "metadata_0.parquet")
    with pytest.raises(DataError, match=r"img_emb_0.npy or .*metadata_0.parquet has changed since"):
        run_job(caption_job, run)


def test_another_model_or_setting_is_refused(encode_job, tmp_path):
    write_lines(encode_job.source, some_texts(9))
    run_job(encode_job, run)
    model, tokenizer = checkpoint.load(encode_job.model)
    next(weight for weight in model.parameters() if weight.dim() == 2).data[0, 0] += 0.001
    checkpoint.save(model, tokenizer, str(tmp_path / "other"))
    with pytest.raises(DataError, match="started with another model: give a new output folder"):
        run_job(replace(encode_job, model=str(tmp_path / "other")), run)
    with pytest.raises(DataError, match="another write_batch_size and another settings"):
        run_job(replace(encode_job, write_batch_size=8, settings={"space": "image"}), run)


def test_a_job_goes_on_after_an_upgrade_of_transformers(encode_job, monkeypatch):
    """The library's version was part of what the model was known by."""
    write_lines(encode_job.source, some_texts(9))
    run_job(encode_job, run)
    monkeypatch.setattr("transformers.configuration_utils.__version__", "99.0.0")
    assert run_job(encode_job, run)["rows_done"] == 9


def test_a_min_similarity_measured_halfway_does_not_refuse_the_rest_of_a_job(encode_job, tmp_path):
    """The weights are the same: days of work would have to be done again into a new folder."""
    model = str(shutil.copytree(encode_job.model, tmp_path / "model"))
    write_lines(encode_job.source, some_texts(9))
    run_job(replace(encode_job, model=model), run)
    (Path(encode_job.output_folder) / "metadata" / "metadata_00000_00001.parquet").unlink()
    checkpoint.set_min_similarity(model, 0.25)
    assert run_job(replace(encode_job, model=model), run)["rows_done"] == 9


def test_a_general_gpt_on_another_file_system_is_one_model_to_driver_and_workers(caption_job, tmp_path):
    """Each fetches it to a temporary folder of its own; were that part of the model, no such job could be done."""
    _, tokenizer = checkpoint.load(caption_job.model)
    backbone = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_embd=CLIP_DIM, n_layer=1, n_head=2)
    )
    backbone.save_pretrained(tmp_path / "general_gpt")
    tokenizer.save_pretrained(tmp_path / "general_gpt")
    fsspec.filesystem("memory").put(str(tmp_path / "general_gpt"), "/general_gpt", recursive=True)
    npy_collection(Path(caption_job.source), [9])
    told = run_job(replace(caption_job, model="memory://general_gpt"), run)
    assert told["rows_done"] == 9 and told["failed"] == []


def test_a_model_that_only_captions_is_refused(encode_job, tmp_path):
    """Each text counted as one that the model cannot read, and the job as done, with nothing in it."""
    model, tokenizer = checkpoint.load(encode_job.model)
    config = ClipGptConfig(model.config.backbone_config, clip_dim=CLIP_DIM, clip_out="none")
    checkpoint.save(ClipGptModel(config), tokenizer, str(tmp_path / "captions_only"))
    write_lines(encode_job.source, some_texts(3))
    with pytest.raises(ClipGptError, match="captions_only only captions: give a model that encodes"):
        run_job(replace(encode_job, model=str(tmp_path / "captions_only")), run)
    assert contents(encode_job.output_folder) == {}


def test_files_added_behind_are_done_too(caption_job):
    folder = Path(caption_job.source)
    folder.mkdir()
    np.save(folder / "a.npy", unit_rows(9))
    run_job(caption_job, run)
    np.save(folder / "b.npy", unit_rows(8, seed=1))
    assert run_job(caption_job, run)["rows_done"] == 17


def test_a_corrupt_file_in_the_middle_is_named_and_done_once_it_is_mended(caption_job):
    folder = Path(caption_job.source)
    folder.mkdir()
    for name in "abc":
        np.save(folder / f"{name}.npy", unit_rows(9))
    (folder / "b.npy").write_bytes(b"no array at all")
    np.save(folder / "c.npy", unit_rows(20))
    with (folder / "c.npy").open("r+b") as file:
        file.truncate(128 + 10 * CLIP_DIM * 4)
    with pytest.raises(
        DataError, match=r"^3 of the files and shards of .* failed, see .*report.json; the first is .*b.npy"
    ):
        run_job(caption_job, run)
    failed = report(caption_job.output_folder)["failed"]
    assert [(Path(one["file"]).name, one.get("start")) for one in failed] == [
        ("b.npy", None),
        ("c.npy", 7),
        ("c.npy", 14),
    ]
    assert "ends before row 13" in failed[1]["error"]
    assert len(output(caption_job.output_folder)[1]) == 9 + 7
    np.save(folder / "b.npy", unit_rows(9))
    with pytest.raises(DataError, match=r"^2 of the files and shards of"):
        run_job(caption_job, run)
    assert len(output(caption_job.output_folder)[1]) == 9 + 9 + 7


def test_a_worker_leaves_its_statistics(encode_job):
    write_lines(encode_job.source, some_texts(30))
    run_job(encode_job, run)
    (file,) = (Path(encode_job.output_folder) / "stats").glob("*.json")
    stats = json.loads(file.read_text())
    assert stats["sample_count"] == 30 and stats["failed"] == [] and stats["stopped"] is None
    spent = stats["read_duration"] + stats["inference_duration"] + stats["write_duration"]
    assert 0 < spent <= stats["end_time"] - stats["start_time"] + 0.01


def test_a_shard_that_fails_is_tried_again(encode_job, monkeypatch):
    write_lines(encode_job.source, some_texts(20))
    flush, failures = ShardWriter.flush, iter([True, False, True, True, False])

    def flaky(writer: ShardWriter) -> None:
        if next(failures, False):
            raise ConnectionError("reset by peer")
        flush(writer)

    monkeypatch.setattr(ShardWriter, "flush", flaky)
    with pytest.raises(DataError, match="reset by peer"):
        run_job(encode_job, run)
    assert [one["shard"] for one in report(encode_job.output_folder)["failed"]] == ["00000_00001"]
    assert run_job(encode_job, run)["rows_done"] == 20


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(blacklist_characters="\n\r", blacklist_categories=["Cs"]), max_size=5), max_size=40),
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


def test_a_worker_refuses_a_model_that_is_not_the_drivers(encode_job):
    """Else nodes with an older copy of the model would write embeddings that no query finds."""
    write_lines(encode_job.source, some_texts(5))
    with pytest.raises(ModelError, match="another model on this machine than where the job was started"):
        worker(Run(encode_job, "run", "fingerprint of another model"), [])
