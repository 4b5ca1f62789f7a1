"""The shards of a job: planned once, recorded in the output folder, and checked when the job is resumed."""

import hashlib
import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import fsspec
from tqdm import tqdm

from clipgpt_retrieval.bulk.job import Job, Shard
from clipgpt_retrieval.bulk.reader import Reader
from clipgpt_retrieval.bulk.retry import retried
from clipgpt_retrieval.bulk.rows import Span
from clipgpt_retrieval.bulk.writer import PARALLEL_FILES, done_shards, remove_damaged_shards
from clipgpt_retrieval.errors import ClipGptError, DataError
from clipgpt_retrieval.storage import write_text

JOB_FILE = "job.json"
FORMAT = 2
"""Raised when the meaning of the job file changes."""


@dataclass(frozen=True)
class PlannedFile:
    """An input file in the plan.

    Attributes:
        path: in its file system.
        stamp: size and version of each file that its rows are read from, to detect changes.
        spans: the rows of its shards.
        error: why it cannot be read, else None.
    """

    path: str
    stamp: list[Any]
    spans: list[Span]
    error: str | None = None

    @property
    def name(self) -> str:
        """Its last component, as a collection may be moved between two runs."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Plan:
    """All shards of a job.

    Attributes:
        files: in the order of the input.
        done: names of the shards that are complete in the output folder.
    """

    files: list[PlannedFile]
    done: set[str]

    def shards(self) -> Iterable[Shard]:
        """Every shard, in the order of the input."""
        for number, file in enumerate(self.files):
            for part, span in enumerate(file.spans):
                yield Shard(f"{_file_name(number)}_{part:05d}", file.path, span.start, span.stop, span.byte_range)

    def rows(self) -> int:
        """Rows of all readable files."""
        return sum(len(shard) for shard in self.shards())

    def missing(self) -> list[Shard]:
        """The shards that are not done yet."""
        return [shard for shard in self.shards() if shard.name not in self.done]


def make_plan(job: Job, reader: Reader, model: str) -> Plan:
    """Plans a job, or continues the plan in its output folder.

    Args:
        job: the job.
        reader: of its collection.
        model: the model's fingerprint.

    Raises:
        DataError: the output folder has shards of another job, of another model or of a file that has changed, or its
            plan is damaged.
    """
    fs, root = fsspec.core.url_to_fs(job.output_folder)
    fs.invalidate_cache()
    done = retried(lambda: done_shards(fs, root), job.retries)
    head = {"format": FORMAT, **job.result_settings(), "model": model}
    recorded = retried(lambda: _recorded(fs, root), job.retries)
    if done:
        _check_head(job, head, recorded)
        if damaged := remove_damaged_shards(job, done):
            print(f"{job.output_folder}: damaged shards are computed again: {len(damaged)}", file=sys.stderr)
        done -= damaged
    known = recorded["files"] if recorded and done else []

    def planned(number: int) -> PlannedFile:
        before = known[number] if number < len(known) else None
        return _planned_file(job, reader, reader.files[number], before, _file_name(number) in started)

    started = {name.split("_")[0] for name in done}
    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        results = pool.map(planned, range(len(reader.files)))
        bar = tqdm(results, total=len(reader.files), unit="file", desc="plan", disable=None, delay=2, leave=False)
        files = list(bar)
    plan = Plan(files, done)
    unknown = done - {shard.name for shard in plan.shards()}
    if unknown:
        raise DataError(
            f"{job.output_folder} contains shards that {job.source} does not have (the first is {min(unknown)}): "
            "give a new output folder"
        )
    document = {**head, "files": [{"name": file.name, **_without_path(file)} for file in files]}
    document["checksum"] = _checksum(document)
    retried(lambda: write_text(f"{job.output_folder}/{JOB_FILE}", json.dumps(document)), job.retries)
    return plan


def _planned_file(job: Job, reader: Reader, path: str, before: dict[str, Any] | None, has_shards: bool) -> PlannedFile:
    stamp = retried(lambda: [_stamp(reader.fs, source) for source in reader.sources(path)], job.retries)
    name = path.rsplit("/", 1)[-1]
    if before is not None and before["error"] is None and [before["name"], before["stamp"]] == [name, stamp]:
        return PlannedFile(path, stamp, [_span(values) for values in before["spans"]])
    if has_shards:
        raise DataError(
            f"{' or '.join(reader.sources(path))} has changed since {job.output_folder} was started: give a new output "
            "folder, or delete the results of this file"
        )
    try:
        return PlannedFile(path, stamp, retried(lambda: reader.spans(path, job.write_batch_size), job.retries))
    except (ClipGptError, OSError) as error:
        return PlannedFile(path, stamp, [], str(error))


def _check_head(job: Job, head: dict[str, Any], recorded: dict[str, Any] | None) -> None:
    if recorded is None:
        raise DataError(
            f"{job.output_folder} contains files but no {JOB_FILE}, or a damaged one: give a new output folder"
        )
    changed = [name for name, value in head.items() if recorded.get(name) != value]
    if changed:
        raise DataError(
            f"{job.output_folder} was started with another {' and another '.join(changed)}: give a new output folder"
        )


def _recorded(fs: Any, root: str) -> dict[str, Any] | None:
    """The plan in an output folder; None if there is none, or it is damaged."""
    try:
        document = json.loads(fs.cat_file(f"{root}/{JOB_FILE}"))
        checksum = document.pop("checksum")
    except (FileNotFoundError, ValueError, AttributeError, LookupError, TypeError):
        return None
    return document if checksum == _checksum(document) else None


def _checksum(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _stamp(fs: Any, path: str) -> list[Any]:
    """Size and version of a file, by whichever version its file system has."""
    info = fs.info(path)
    versions = [info[key] for key in ("ETag", "etag", "mtime", "created", "LastModified") if key in info]
    return [info["size"], str(versions[0]) if versions else ""]


def _file_name(number: int) -> str:
    return f"{number:05d}"


def _without_path(file: PlannedFile) -> dict[str, Any]:
    values = asdict(file)
    del values["path"]
    return values


def _span(values: dict[str, Any]) -> Span:
    byte_range = values["byte_range"]
    return Span(values["start"], values["stop"], None if byte_range is None else tuple(byte_range))
