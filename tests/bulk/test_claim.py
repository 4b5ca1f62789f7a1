"""An output folder belongs to one job at a time: two of different settings mixed their shards, with exit status 0."""

from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from bulk_helpers import output, some_texts, write_lines

from clipgpt_retrieval.bulk import claim
from clipgpt_retrieval.bulk.distributor import SequentialDistributor
from clipgpt_retrieval.bulk.job import Job, Run, Shard
from clipgpt_retrieval.bulk.main import run_job
from clipgpt_retrieval.errors import DataError

run = SequentialDistributor()


@pytest.fixture(params=["local", "memory"])
def job(request, encode_job, monkeypatch) -> Job:
    write_lines(encode_job.source, some_texts(20))
    monkeypatch.setattr(claim, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(claim, "EXPIRY_SECONDS", 5)
    where = encode_job.output_folder if request.param == "local" else "memory://claimed/out"
    yield replace(encode_job, output_folder=where)
    memory = fsspec.filesystem("memory")
    if memory.exists("/claimed"):
        memory.rm("/claimed", recursive=True)


def test_a_second_job_is_refused_from_the_first_moment(job):
    refused = []

    def with_a_second_job(of_run: Run, shards: list[Shard]) -> None:
        for other in (job, replace(job, settings={"space": "image"})):
            with pytest.raises(DataError, match=r"another job is writing to .*out: wait for it, or give another"):
                run_job(other, run)
            refused.append(other)
        run(of_run, shards)

    assert run_job(job, with_a_second_job)["rows_done"] == 20
    assert len(refused) == 2 and output(job.output_folder)[1].num_rows == 20
    assert run_job(job, run)["rows_done"] == 20  # released


def test_the_claim_of_a_killed_job_is_taken_over(job, monkeypatch):
    monkeypatch.setattr(claim, "EXPIRY_SECONDS", 0.1)
    fs, root = fsspec.core.url_to_fs(job.output_folder)
    fs.makedirs(f"{root}/claims", exist_ok=True)
    fs.pipe_file(f"{root}/claims/0a1b2c3d", b"of a killed job")
    fs.pipe_file(f"{root}/.lock", b"")
    assert run_job(job, run)["rows_done"] == 20
    assert job.output_folder == str(Path(job.output_folder)) or not fs.ls(f"{root}/claims")
