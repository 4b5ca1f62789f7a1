"""Runs a job: plan, distribute, show progress, report."""

import json
import time
from typing import Any
from uuid import uuid4

import fsspec

from clipgpt_retrieval.bulk.claim import claimed
from clipgpt_retrieval.bulk.distributor import Distributor
from clipgpt_retrieval.bulk.job import Job, Run
from clipgpt_retrieval.bulk.plan import Plan, make_plan
from clipgpt_retrieval.bulk.progress import Progress
from clipgpt_retrieval.bulk.reader import Reader, open_reader
from clipgpt_retrieval.bulk.retry import retried
from clipgpt_retrieval.bulk.stats import read_stats
from clipgpt_retrieval.bulk.writer import done_shards, prepare, remove_partial_files
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model import checkpoint
from clipgpt_retrieval.storage import write_text

REPORT_FILE = "report.json"


def run_job(job: Job, distribute: Distributor) -> dict[str, Any]:
    """Processes the missing shards of a job, and writes ``report.json`` into its output folder.

    Args:
        job: the job.
        distribute: runs the workers.

    Returns:
        The report: rows, shards, how many of both are done, rows skipped, seconds, rows per second, and ``failed``:
        files and shards that failed, each with its error.

    Raises:
        DataError: no rows, an output folder of another job, one that another job is writing to, or shards that failed.
        ModelError: the model cannot be read.
    """
    reader = retried(lambda: open_reader(job), job.retries)
    fingerprint = checkpoint.load(job.model).fingerprint
    with claimed(job):
        return _run_claimed(job, reader, fingerprint, distribute)


def _run_claimed(job: Job, reader: Reader, fingerprint: str, distribute: Distributor) -> dict[str, Any]:
    retried(lambda: prepare(job), job.retries)
    plan = make_plan(job, reader, fingerprint)
    shards = plan.missing()
    if not plan.rows() and not any(file.error for file in plan.files):
        raise DataError(f"{job.source} contains no rows: give a folder or file with some")
    run = Run(job, f"{time.strftime('%Y%m%dT%H%M%S')}_{uuid4().hex[:6]}", fingerprint)
    rows_before = plan.rows() - sum(map(len, shards))
    started = time.perf_counter()
    failure: Exception | None = None
    with Progress(run, plan.rows(), rows_before):
        try:
            if shards:
                distribute(run, shards)
        except Exception as error:  # reported first, then raised
            failure = error
    report = _report(run, plan, rows_before, time.perf_counter() - started)
    retried(lambda: write_text(f"{job.output_folder}/{REPORT_FILE}", json.dumps(report, indent=1)), job.retries)
    _raise_failures(job, report, failure)
    retried(lambda: remove_partial_files(job), job.retries)
    return report


def _report(run: Run, plan: Plan, rows_before: int, seconds: float) -> dict[str, Any]:
    """What the output folder contains now, and the errors of the run's workers."""
    job = run.job
    fs, root = fsspec.core.url_to_fs(job.output_folder)
    fs.invalidate_cache()
    plan = Plan(plan.files, retried(lambda: done_shards(fs, root), job.retries))
    missing = plan.missing()
    rows_done = plan.rows() - sum(map(len, missing))
    stats = retried(lambda: read_stats(job.output_folder, run.name), job.retries)
    skipped = sum(one["skipped_count"] for one in retried(lambda: read_stats(job.output_folder), job.retries))
    errors = {failed["shard"]: failed["error"] for one in stats for failed in one["failed"]}
    unread = [{"shard": None, "file": file.path, "error": file.error} for file in plan.files if file.error]
    return {
        "rows": plan.rows(),
        "rows_done": rows_done,
        "rows_skipped": skipped,
        "shards": len(list(plan.shards())),
        "shards_done": len(plan.done),
        "seconds": round(seconds, 3),
        "rows_per_second": round((rows_done - rows_before) / seconds, 1),
        "stopped": sorted({one["stopped"] for one in stats if one["stopped"]}),
        "failed": unread
        + [
            {
                "shard": shard.name,
                "file": shard.file,
                "start": shard.start,
                "stop": shard.stop,
                "error": errors.get(shard.name, "its worker ended early"),
            }
            for shard in missing
        ],
    }


def _raise_failures(job: Job, report: dict[str, Any], failure: Exception | None) -> None:
    if not report["failed"]:
        return
    if report["stopped"]:
        raise DataError(report["stopped"][0]) from failure
    if failure is not None:
        raise failure
    failed, first = len(report["failed"]), report["failed"][0]
    raise DataError(
        f"{failed} of the files and shards of {job.source} failed, see {job.output_folder}/{REPORT_FILE}; "
        f"the first is {first['file']}: {first['error']}. The same command retries them"
    )
