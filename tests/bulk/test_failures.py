"""Failures of processes, storage and files: afterwards the same command completes the job, each row once."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from bulk_helpers import CLIP_DIM, contents, output, report, some_texts, write_lines
from fsspec.implementations.memory import MemoryFileSystem
from support import unit_rows

from clipgpt_retrieval.bulk.distributor import SequentialDistributor
from clipgpt_retrieval.bulk.job import Run, Shard
from clipgpt_retrieval.bulk.main import run_job
from clipgpt_retrieval.bulk.worker import worker
from clipgpt_retrieval.bulk.writer import ShardWriter
from clipgpt_retrieval.errors import DataError, ModelError

run = SequentialDistributor()

KILLED = """
import os, signal
from contextlib import contextmanager
from clipgpt_retrieval.bulk import writer
from clipgpt_retrieval.cli import main

new_file, tables = writer.new_file, []

@contextmanager
def killed_at_the_seventh_table(url):
    with new_file(url) as file:
        if url.endswith(".parquet"):
            tables.append(url)
        if len(tables) == 7:
            file.write(b"PAR1")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        yield file

writer.new_file = killed_at_the_seventh_table
main()
"""


@pytest.mark.slow
def test_a_killed_job_is_resumed(encode_job):
    write_lines(encode_job.source, some_texts(200))
    flags = ["--model", encode_job.model, "--input", encode_job.source, "--output_folder", encode_job.output_folder]
    command = [sys.executable, "-c", KILLED, "encode", *flags, "--device", "cpu", "--write_batch_size", "7"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    metadata = Path(encode_job.output_folder) / "metadata"
    before = {file: file.stat().st_mtime_ns for file in metadata.glob("*.parquet")}
    assert len(before) == 6 and list(metadata.glob("*.part"))
    result = run_job(encode_job, run)
    embeddings, table = output(encode_job.output_folder)
    assert result["rows_done"] == len(embeddings) == 200
    assert table.column("input_row").to_pylist() == list(range(200))
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert not list(Path(encode_job.output_folder).rglob("*.part"))


def test_partial_files_of_a_killed_worker_are_removed(encode_job):
    write_lines(encode_job.source, some_texts(20))

    def with_a_killed_worker(of_run: Run, shards: list[Shard]) -> None:
        (Path(encode_job.output_folder) / "metadata" / "metadata_00000_00001.parquet.0a1b2c3d.part").touch()
        run(of_run, shards)

    assert run_job(encode_job, with_a_killed_worker)["rows_done"] == 20
    assert not list(Path(encode_job.output_folder).rglob("*.part"))


def test_a_full_disk_stops_the_job(encode_job, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        job = replace(encode_job, output_folder=str(folder / "out"), write_batch_size=100)
        write_lines(job.source, some_texts(2000))
        with pytest.raises(
            DataError, match=r"nothing more can be written .*free some space, then run the same command"
        ):
            run_job(job, run)
        half = output(job.output_folder)[1].num_rows
        assert 0 < half < 2000
        assert not list((folder / "out" / "metadata").glob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=16m", str(folder)], check=True)
        run_job(job, run)
        embeddings, table = output(job.output_folder)
        assert table.column("input_row").to_pylist() == list(range(2000)) and len(embeddings) == 2000
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class FlakyFileSystem(MemoryFileSystem):
    """Storage that fails every tenth call."""

    protocol = "flaky"
    calls = 0
    failures = 0

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(str(path).replace("flaky://", "memory://"))

    @classmethod
    def count(cls) -> None:
        cls.calls += 1
        if cls.calls % 10 == 0:
            cls.failures += 1
            raise OSError("503 Slow Down")

    def _open(self, *args, **kwargs):
        self.count()
        return super()._open(*args, **kwargs)

    def ls(self, *args, **kwargs):
        self.count()
        return super().ls(*args, **kwargs)

    def info(self, *args, **kwargs):
        self.count()
        return super().info(*args, **kwargs)

    def cp_file(self, *args, **kwargs):
        self.count()
        return super().cp_file(*args, **kwargs)

    def rm_file(self, *args, **kwargs):
        self.count()
        return super().rm_file(*args, **kwargs)

    def makedirs(self, *args, **kwargs):
        self.count()
        return super().makedirs(*args, **kwargs)


def test_storage_that_fails_every_tenth_call_changes_no_result(caption_job, tmp_path):
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    embeddings = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32)
    Path(caption_job.source).mkdir()
    for number in range(3):
        part = embeddings[number * 20 : number * 20 + 20]
        np.save(Path(caption_job.source) / f"{number}.npy", part)
        fsspec.filesystem("memory").put_file(f"{caption_job.source}/{number}.npy", f"/bucket/in/img_emb/{number}.npy")
    run_job(caption_job, run)
    job = replace(caption_job, source="flaky://bucket/in", output_folder="flaky://bucket/out", retries=3)
    result = run_job(job, run)
    assert FlakyFileSystem.failures > 5 and result["failed"] == []
    memory = fsspec.filesystem("memory")
    written = {Path(file).name: memory.cat_file(file) for file in memory.find("/bucket/out/metadata")}
    assert written == contents(caption_job.output_folder)


def test_a_damaged_file_is_reported_and_processed_once_repaired(caption_job):
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


def test_a_worker_writes_its_statistics(encode_job):
    write_lines(encode_job.source, some_texts(30))
    run_job(encode_job, run)
    (file,) = (Path(encode_job.output_folder) / "stats").glob("*.json")
    stats = json.loads(file.read_text())
    assert stats["sample_count"] == 30 and stats["failed"] == [] and stats["stopped"] is None
    spent = stats["read_duration"] + stats["inference_duration"] + stats["write_duration"]
    assert 0 < spent <= stats["end_time"] - stats["start_time"] + 0.01


def test_a_failed_shard_is_retried(encode_job, monkeypatch):
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


def test_a_worker_refuses_another_model_than_the_drivers(encode_job):
    """A node may have an older copy."""
    write_lines(encode_job.source, some_texts(5))
    with pytest.raises(ModelError, match="another model on this machine than where the job was started"):
        worker(Run(encode_job, "run", "fingerprint of another model"), [])
