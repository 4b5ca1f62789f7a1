"""`clipgpt-retrieval doctor`: what is installed, what works, and what to type where something does not.

Without a model or an index it imports neither torch nor faiss, so it answers at once, also where these are broken.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clipgpt_retrieval.errors import ClipGptError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Result = TypeVar("Result")

PACKAGE = "clipgpt-retrieval"

STARTS = """
import inspect
from clip_retrieval.clip_back import clip_back
print("clipgpt_model" in inspect.signature(clip_back).parameters)
"""

OTHER_EXTRAS = ("all", "dev", "docs", "evaluation")
"""Those that hold other extras, or that only developers need."""

IPYTHON_WITHOUT_HELP = 9
"""From this version on, fire before 0.6, which clip-retrieval needs, cannot ask IPython for its help texts."""

START_SECONDS = 300
"""How long clip-retrieval may take to start; with a cold disk it is a minute."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        mark: ``"ok"``, ``"note"`` (works, but there is something to know) or ``"wrong"``.
        subject: what was looked at.
        message: what was found.
        remedy: what to type, or to do, where there is something to do.

    Examples:
        >>> print(Finding("note", "plugin", "is off", "clipgpt-retrieval enable"))
        note   plugin            is off
                                 -> clipgpt-retrieval enable
    """

    mark: str
    subject: str
    message: str
    remedy: str | None = None

    def __str__(self) -> str:
        line = f"{self.mark:6} {self.subject:17} {self.message}"
        return line if self.remedy is None else f"{line}\n{'':24} -> {self.remedy}"


def doctor(model: str | None = None, index: str | None = None) -> None:
    """Tells what is installed, whether it works, and what to type where it does not.

    Ends with exit status 1 where something is wrong.

    Args:
        model: a clipgpt model that shall be loaded and tried: directory, hub id or fsspec url.
        index: a folder as clip-retrieval index leaves it, or an index file, that shall be opened and tried.
    """
    any_wrong = False
    for finding in findings(model, index):
        print(finding, flush=True)
        any_wrong = any_wrong or finding.mark == "wrong"
    if any_wrong:
        sys.exit(1)


def findings(model: str | None = None, index: str | None = None) -> Iterator[Finding]:
    """The report's lines, one after the other as they are found.

    Args:
        model: a clipgpt model to try.
        index: an index to try.

    Examples:
        >>> next(findings()).subject
        'python'
    """
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.system()}, {sys.executable}")
    yield from check_packages()
    yield from check_extras()
    yield from check_programs()
    yield check_memory()
    yield check_plugin()
    if model is None and index is None:
        yield Finding("note", "model, index", "not tried", "clipgpt-retrieval doctor --model MODEL --index FOLDER")
        return
    yield from examined("clip-retrieval", check_clip_retrieval_starts())
    model_dim = index_dim = None
    if model is not None:
        yield from examined("devices", check_devices())
        model_dim = yield from examined("model", check_model(str(model)))
    if index is not None:
        index_dim = yield from examined("index", check_index(str(index)))
    if model_dim and index_dim:
        yield check_dimensions(model_dim, index_dim)


def check_packages() -> Iterator[Finding]:
    """Whether each package that this one requires is installed in a version that it works with."""
    yield Finding("ok", PACKAGE, metadata.version(PACKAGE))
    unmet = [requirement for requirement in _requirements(extra="") if not _is_met(requirement)]
    for requirement in unmet:
        found = _installed(requirement.name)
        message = "is missing" if found is None else f"is {found}, and {requirement.specifier} is needed"
        yield Finding("wrong", requirement.name, message, f"pip install '{requirement.name}{requirement.specifier}'")
    for name in ("clip-retrieval", "torch", "transformers", "faiss-cpu", "numpy", "setuptools"):
        found = _installed(name)
        if found is not None and name not in {requirement.name for requirement in unmet}:
            yield Finding("ok", name, found)
    ipython = _installed("ipython")
    if ipython is not None and int(ipython.partition(".")[0]) >= IPYTHON_WITHOUT_HELP:
        message = f"is {ipython}, with which `clip-retrieval --help` fails; its commands work"
        yield Finding("note", "ipython", message, f"pip install 'ipython<{IPYTHON_WITHOUT_HELP}'")


def check_extras() -> Iterator[Finding]:
    """Which of the package's extras are complete."""
    for extra in metadata.metadata(PACKAGE).get_all("Provides-Extra") or []:
        if extra in OTHER_EXTRAS:
            continue
        missing = [requirement.name for requirement in _requirements(extra) if not _is_met(requirement)]
        if missing:
            message = f"is not complete, it lacks {', '.join(missing)}"
            yield Finding("note", f"[{extra}]", message, f"pip install '{PACKAGE}[{extra}]'")
        else:
            yield Finding("ok", f"[{extra}]", "is installed")


def check_programs() -> Iterator[Finding]:
    """Programs that are no Python packages, where an installed package calls for them."""
    calls_for_java = [name for name in ("pycocoevalcap", "pyspark") if _installed(name)]
    if calls_for_java:
        yield _check_program("java", "METEOR and SPICE in evaluate, and jobs on Spark", "default-jre-headless")
    if _installed("playwright"):
        yield _check_program("chromium", "the tests of the web page", "chromium")


def check_memory() -> Finding:
    """Cores and memory of this machine."""
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    message = f"{cores} cores, {_size(memory.available)} of {_size(memory.total)} memory free"
    return Finding("ok", "machine", message)


def check_plugin() -> Finding:
    """Whether plain `clip-retrieval back` has CLIP-GPT in this environment."""
    from clipgpt_retrieval.plugin import enabled_files

    files = enabled_files()
    if not files:
        return Finding("note", "plugin", "is off: plain clip-retrieval has no CLIP-GPT", "clipgpt-retrieval enable")
    return Finding("ok", "plugin", f"is on, by {', '.join(map(str, files))}")


def check_clip_retrieval_starts() -> Generator[Finding, None, None]:
    """Whether clip-retrieval starts in a process of its own, and whether the plugin reaches it there."""
    from clipgpt_retrieval.plugin import enabled_files

    try:
        started = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", STARTS], capture_output=True, text=True, timeout=START_SECONDS
        )
    except subprocess.TimeoutExpired:
        message = f"has not started within {START_SECONDS} seconds"
        yield Finding("wrong", "clip-retrieval", message, "this command again, when the machine is less busy")
        return
    if started.returncode != 0:
        reason = (started.stderr.strip().splitlines() or [f"exit status {started.returncode}"])[-1]
        remedy = "pip install 'setuptools<81'" if "pkg_resources" in reason else "install it in a fresh environment"
        yield Finding("wrong", "clip-retrieval", f"does not start: {reason}", remedy)
        return
    yield Finding("ok", "clip-retrieval", "starts")
    if enabled_files() and started.stdout.strip() != "True":
        message = "is on, but does not reach clip-retrieval"
        yield Finding("wrong", "plugin", message, "clipgpt-retrieval disable; clipgpt-retrieval enable")


def check_devices() -> Generator[Finding, None, None]:
    """What torch can compute on."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())]
        yield Finding("ok", "devices", f"cuda: {', '.join(names)}")
    elif torch.backends.mps.is_available():
        yield Finding("ok", "devices", "mps")
    elif shutil.which("nvidia-smi"):
        message = f"cpu alone, although this machine has nvidia-smi (torch {torch.__version__})"
        yield Finding("note", "devices", message, "install the torch that goes with your driver: pytorch.org")
    else:
        yield Finding("ok", "devices", "cpu")


def check_model(path: str) -> Generator[Finding, None, int]:
    """Whether a model loads, encodes and captions.

    Returns:
        The numbers in each of its embeddings.
    """
    import numpy as np

    from clipgpt_retrieval.engine import load

    model = load(path)
    clip = model.clip_model or "a CLIP that it does not name"
    yield Finding("ok", "model", f"{path} loads on {model.device}: {model.clip_dim} numbers an embedding, for {clip}")
    if not model.encodes:
        caption = model.caption(np.eye(1, model.clip_dim))[0]
        yield Finding("ok", "model", f"captions only, an embedding of its first axis as “{caption}”")
        return model.clip_dim
    text = "two giraffes next to a fence"
    image_embedding = model.encode([text], space="image")
    yield Finding("ok", "model", f"reads “{text}” back as “{model.caption(image_embedding)[0]}”")
    return model.clip_dim


def check_index(path: str) -> Generator[Finding, None, int]:
    """Whether an index opens and gives its embeddings back, and whether its metadata are complete.

    Returns:
        The numbers in each of its embeddings.
    """
    import numpy as np

    from clipgpt_retrieval.index.source import open_index

    source = open_index(path)
    items = source.items
    norm = float(np.linalg.norm(items.embeddings([0])[0]))
    message = f"{source.file} holds {len(items):,} items of {items.dimension} numbers; item 0 has norm {norm:.2f}"
    yield Finding("ok", "index", message)
    yield from _check_metadata(source.folder, len(items))
    yield from _check_fits(source.file)
    return items.dimension


def check_dimensions(model_dim: int, index_dim: int) -> Finding:
    """Whether a model and an index can be of one CLIP."""
    if model_dim == index_dim:
        message = f"agree on {model_dim} numbers; whether both are of one CLIP, the index does not say"
        return Finding("ok", "model, index", message)
    message = f"do not go together: the model's embeddings have {model_dim} numbers, the index's {index_dim}"
    return Finding("wrong", "model, index", message, "give the model that was trained for the CLIP of this index")


def _check_metadata(folder: Path, num_items: int) -> Iterator[Finding]:
    """Whether the parquet files beside an index have a row for each item."""
    from clipgpt_retrieval.index.metadata import find_metadata

    files = find_metadata(folder)
    if not files:
        message = f"there are none in {folder}, and back does not start without"
        yield Finding("wrong", "metadata", message, "copy the folder metadata of the embeddings beside the index")
    rows = files.num_rows
    if rows is None:  # rows of hdf5 and arrow are not counted
        return
    if rows == num_items:
        yield Finding("ok", "metadata", f"{rows:,} rows, one for each item")
    else:
        message = f"{rows:,} rows for {num_items:,} items: results would carry the metadata of others"
        yield Finding("wrong", "metadata", message, "clip-retrieval index EMBEDDINGS_FOLDER INDEX_FOLDER, anew")


def _check_fits(file: Path) -> Iterator[Finding]:
    import psutil

    size = sum(part.stat().st_size for part in (file.rglob("*") if file.is_dir() else [file]))
    free = psutil.virtual_memory().available
    if size > free:
        message = f"is {_size(size)} on disk, and {_size(free)} of memory are free"
        yield Finding("note", "index", message, "add --enable_faiss_memory_mapping True to back")


def _check_program(name: str, use: str, debian_package: str) -> Finding:
    found = shutil.which(name)
    if found is None:
        return Finding("note", name, f"is not there; needed by {use}", f"apt-get install {debian_package}")
    return Finding("ok", name, found)


def examined(subject: str, check: Generator[Finding, None, Result]) -> Generator[Finding, None, Result | None]:
    """The findings of a check; what it raises is a finding, too."""
    try:
        return (yield from check)
    except ClipGptError as error:
        yield Finding("wrong", subject, str(error))
    except Exception as error:  # whatever a broken package raises when it is imported or used
        lines = str(error).strip().splitlines() or ["no reason given"]
        yield Finding("wrong", subject, f"{type(error).__name__}: {lines[0]}")
    return None


def _requirements(extra: str) -> Iterator[Requirement]:
    """What the package requires in this environment: at all, or for an extra."""
    from packaging.requirements import Requirement

    for line in metadata.requires(PACKAGE) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        needed_at_all = marker is None or marker.evaluate({"extra": ""})
        if needed_at_all == (not extra) and (marker is None or marker.evaluate({"extra": extra})):
            yield requirement


def _is_met(requirement: Requirement) -> bool:
    found = _installed(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _size(num_bytes: int) -> str:
    gigabytes = num_bytes / 2**30
    return f"{gigabytes:.1f} GiB" if gigabytes >= 1 else f"{num_bytes / 2**20:.0f} MiB"
