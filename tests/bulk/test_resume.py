"""Jobs that are run again: what is processed, what is kept and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from bulk_helpers import CLIP_DIM, GENERATION, contents, npy_collection, some_texts, write_lines
from support import unit_rows
from transformers import GPT2Config, GPT2LMHeadModel

from clipgpt_retrieval.bulk.distributor import SequentialDistributor
from clipgpt_retrieval.bulk.main import run_job
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model import checkpoint

run = SequentialDistributor()


def test_only_missing_shards_are_processed(encode_job):
    write_lines(encode_job.source, some_texts(30))
    run_job(encode_job, run)
    whole = contents(encode_job.output_folder)
    metadata = Path(encode_job.output_folder) / "metadata"
    (metadata / "metadata_00000_00002.parquet").unlink()
    times = {file: file.stat().st_mtime_ns for file in metadata.iterdir()}
    result = run_job(encode_job, run)
    assert contents(encode_job.output_folder) == whole
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())
    assert result["rows_done"] == 30


def test_sampled_captions_do_not_depend_on_the_order_of_shards(caption_job):
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
    model, tokenizer, _ = checkpoint.load(encode_job.model)
    next(weight for weight in model.parameters() if weight.dim() == 2).data[0, 0] += 0.001
    checkpoint.save(model, tokenizer, str(tmp_path / "other"))
    with pytest.raises(DataError, match="started with another model: give a new output folder"):
        run_job(replace(encode_job, model=str(tmp_path / "other")), run)
    with pytest.raises(DataError, match="another write_batch_size and another settings"):
        run_job(replace(encode_job, write_batch_size=8, settings={"space": "image"}), run)


def test_a_job_is_resumed_after_an_upgrade_of_transformers(encode_job, monkeypatch):
    """The library's version is not part of the fingerprint."""
    write_lines(encode_job.source, some_texts(9))
    run_job(encode_job, run)
    monkeypatch.setattr("transformers.configuration_utils.__version__", "99.0.0")
    assert run_job(encode_job, run)["rows_done"] == 9


def test_a_new_min_similarity_leaves_the_fingerprint(encode_job, tmp_path):
    """The weights are the same."""
    model = str(shutil.copytree(encode_job.model, tmp_path / "model"))
    write_lines(encode_job.source, some_texts(9))
    run_job(replace(encode_job, model=model), run)
    (Path(encode_job.output_folder) / "metadata" / "metadata_00000_00001.parquet").unlink()
    checkpoint.set_min_similarity(model, 0.25)
    assert run_job(replace(encode_job, model=model), run)["rows_done"] == 9


def test_driver_and_workers_fetch_the_same_general_gpt(caption_job, tmp_path):
    """Each to its own temporary folder, which is not part of the fingerprint."""
    _, tokenizer, _ = checkpoint.load(caption_job.model)
    backbone = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_embd=CLIP_DIM, n_layer=1, n_head=2)
    )
    backbone.save_pretrained(tmp_path / "general_gpt")
    tokenizer.save_pretrained(tmp_path / "general_gpt")
    fsspec.filesystem("memory").put(str(tmp_path / "general_gpt"), "/general_gpt", recursive=True)
    npy_collection(Path(caption_job.source), [9])
    result = run_job(replace(caption_job, model="memory://general_gpt"), run)
    assert result["rows_done"] == 9 and result["failed"] == []


def test_added_files_are_processed(caption_job):
    folder = Path(caption_job.source)
    folder.mkdir()
    np.save(folder / "a.npy", unit_rows(9))
    run_job(caption_job, run)
    np.save(folder / "b.npy", unit_rows(8, seed=1))
    assert run_job(caption_job, run)["rows_done"] == 17


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def bit_flipped(file: Path) -> None:
    """In the middle of a parquet file are texts, and of an .npy file embeddings: both can still be read."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [emptied, truncated, Path.unlink, bit_flipped])
@pytest.mark.parametrize(
    "part",
    [
        "metadata/metadata_00000_00001.parquet",
        "img_emb/img_emb_00000_00001.npy",
        "checksums/checksums_00000_00001.json",
    ],
)
def test_a_damaged_shard_is_computed_again(encode_job, capsys, damage, part):
    """After a power failure, or on a failing disk: it counted as done, with the rows of other texts behind it."""
    write_lines(encode_job.source, some_texts(20))
    run_job(encode_job, run)
    whole = contents(encode_job.output_folder)
    damage(Path(encode_job.output_folder) / part)
    assert run_job(encode_job, run)["rows_done"] == 20
    assert contents(encode_job.output_folder) == whole
    was_missing = damage is Path.unlink and part.startswith("metadata")
    assert was_missing or "damaged shards are computed again: 1" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'{"files": 3}', None])
def test_a_damaged_plan_is_refused(encode_job, content):
    """With another range of rows in it, rows were written twice or never."""
    write_lines(encode_job.source, some_texts(20))
    run_job(encode_job, run)
    plan = Path(encode_job.output_folder) / "job.json"
    plan.write_bytes(plan.read_bytes().replace(b'"stop": 14', b'"stop": 15') if content is None else content)
    with pytest.raises(DataError, match=r"no job\.json, or a damaged one: give a new output folder"):
        run_job(encode_job, run)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sample_count": "many"}'])
def test_damaged_statistics_stop_no_job(encode_job, content):
    write_lines(encode_job.source, some_texts(20))
    run_job(encode_job, run)
    for file in (Path(encode_job.output_folder) / "stats").iterdir():
        file.write_bytes(content)
    assert run_job(encode_job, run)["rows_done"] == 20
