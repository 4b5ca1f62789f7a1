"""What goes wrong on the way: the job ends right after a restart, with each row once."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from bulk_helpers import contents, output, some_texts, write_lines
from fsspec.implementations.memory import MemoryFileSystem

from clipgpt_retrieval.bulk.distributor import SequentialDistributor
from clipgpt_retrieval.bulk.job import Run, Shard
from clipgpt_retrieval.bulk.main import run_job
from clipgpt_retrieval.errors import DataError

run = SequentialDistributor()


@pytest.mark.slow
def test_a_killed_driver_goes_on_where_it_was(encode_job, tmp_path):
    write_lines(encode_job.source, some_texts(2000))
    command = [sys.executable, "-m", "clipgpt_retrieval.cli", "encode", "--model", encode_job.model]
    flags = ["--input", encode_job.source, "--output_folder", encode_job.output_folder, "--device", "cpu"]
    process = subprocess.Popen([*command, *flags, "--write_batch_size", "7", "--batch_size", "4"])
    metadata = Path(encode_job.output_folder) / "metadata"
    while len(list(metadata.glob("*.parquet"))) <= 5:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {file: file.stat().st_mtime_ns for file in metadata.glob("*.parquet")}
    assert 5 < len(before) < 286
    told = run_job(encode_job, run)
    embeddings, table = output(encode_job.output_folder)
    assert told["rows_done"] == len(embeddings) == 2000
    assert table.column("input_row").to_pylist() == list(range(2000))
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert not list(Path(encode_job.output_folder).rglob("*.part"))


def test_what_a_killed_worker_left_is_not_in_what_the_job_leaves(encode_job):
    """Another worker did its part again; nobody would take the half-written file away."""
    write_lines(encode_job.source, some_texts(20))

    def with_a_death(of_run: Run, shards: list[Shard]) -> None:
        (Path(encode_job.output_folder) / "metadata" / "metadata_00000_00001.parquet.0a1b2c3d.part").touch()
        run(of_run, shards)

    assert run_job(encode_job, with_a_death)["rows_done"] == 20
    assert not list(Path(encode_job.output_folder).rglob("*.part"))


def test_a_full_disk_stops_the_job_and_room_ends_it(encode_job, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        job = replace(encode_job, output_folder=str(folder / "out"), write_batch_size=100)
        write_lines(job.source, some_texts(2000))
        with pytest.raises(DataError, match=r"nothing more can be written .*make room, then run the same command"):
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
    """A bucket that does not answer every tenth call."""

    protocol = "flaky"
    calls = 0
    failures = 0

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(str(path).replace("flaky://", "memory://"))

    @classmethod
    def answer(cls) -> None:
        cls.calls += 1
        if cls.calls % 10 == 0:
            cls.failures += 1
            raise OSError("503 Slow Down")

    def _open(self, *args, **kwargs):
        self.answer()
        return super()._open(*args, **kwargs)

    def ls(self, *args, **kwargs):
        self.answer()
        return super().ls(*args, **kwargs)

    def info(self, *args, **kwargs):
        self.answer()
        return super().info(*args, **kwargs)

    def cp_file(self, *args, **kwargs):
        self.answer()
        return super().cp_file(*args, **kwargs)

    def rm_file(self, *args, **kwargs):
        self.answer()
        return super().rm_file(*args, **kwargs)

    def makedirs(self, *args, **kwargs):
        self.answer()
        return super().makedirs(*args, **kwargs)


def test_a_bucket_that_fails_every_tenth_call_costs_nothing_but_time(caption_job, tmp_path):
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    embeddings = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32)
    Path(caption_job.source).mkdir()
    for number in range(3):
        part = embeddings[number * 20 : number * 20 + 20]
        np.save(Path(caption_job.source) / f"{number}.npy", part)
        fsspec.filesystem("memory").put_file(f"{caption_job.source}/{number}.npy", f"/bucket/in/img_emb/{number}.npy")
    run_job(caption_job, run)
    job = replace(caption_job, source="flaky://bucket/in", output_folder="flaky://bucket/out", retries=3)
    told = run_job(job, run)
    assert FlakyFileSystem.failures > 5 and told["failed"] == []
    memory = fsspec.filesystem("memory")
    written = {Path(file).name: memory.cat_file(file) for file in memory.find("/bucket/out/metadata")}
    assert written == contents(caption_job.output_folder)
