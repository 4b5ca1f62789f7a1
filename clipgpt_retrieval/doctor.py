"""`clipgpt-retrieval doctor`: what is installed, what works, and the command that repairs what does not.

Without a model or an index it imports neither torch nor faiss, so it is quick and works where these are broken.
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

from packaging.version import Version

from clipgpt_retrieval import host
from clipgpt_retrieval.errors import ClipGptError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from clipgpt_retrieval.engine import ClipGpt
    from clipgpt_retrieval.evaluation.fit import Fit
    from clipgpt_retrieval.index.collection import Collection
    from clipgpt_retrieval.index.source import Source

Result = TypeVar("Result")

PACKAGE = "clipgpt-retrieval"

STARTS = """
import inspect
from clip_retrieval.clip_back import clip_back
print("clipgpt_model" in inspect.signature(clip_back).parameters)
"""

OTHER_MODEL = "use a model that was trained for the CLIP of this index"

OTHER_EXTRAS = ("all", "dev", "docs")
"""Extras that include others, or that only developers need."""

IPYTHON_WITHOUT_HELP, FIRE_WITHOUT_IPYTHON = Version("9"), Version("0.6")
"""With IPython from this version on, fire before that one fails to print help texts."""

UNIT_NORMS = (0.5, 1.3)
"""Mean norms of unit embeddings in an index: product quantization shortens vectors."""

START_SECONDS = 300
"""Timeout of clip-retrieval's start, which takes a minute on a cold disk."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        mark: ``"ok"``, ``"note"`` (works with a restriction) or ``"error"``.
        subject: what was checked.
        message: the result.
        remedy: command to type or step to take, or None.

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
    """Checks the installation, and prints the command that repairs what does not work.

    The exit status is 1 where there is an error.

    Args:
        model: a clipgpt model to load and try: directory, hub id or fsspec URL.
        index: an index to open and try: a folder as clip-retrieval index writes it, or an index file.
    """
    has_errors = False
    for finding in findings(model, index):
        print(finding, flush=True)
        has_errors = has_errors or finding.mark == "error"
    if has_errors:
        sys.exit(1)


def findings(model: str | None = None, index: str | None = None) -> Iterator[Finding]:
    """The lines of the report, each as soon as its check is done.

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
    engine = source = None
    if model is not None:
        yield from examined("devices", check_devices())
        engine = yield from examined("model", check_model(model))
    if index is not None:
        source = yield from examined("index", check_index(index))
    if engine is not None and source is not None:
        yield from examined("model, index", check_fit(engine, source))
    elif engine is not None:
        yield from examined("model", show_readback(engine))


def check_packages() -> Iterator[Finding]:
    """Whether each required package is installed in a supported version."""
    yield Finding("ok", PACKAGE, metadata.version(PACKAGE))
    unmet = [requirement for requirement in _requirements(extra="") if not _is_met(requirement)]
    for requirement in unmet:
        found = _installed(requirement.name)
        message = "is not installed" if found is None else f"is {found}, required is {requirement.specifier}"
        yield Finding("error", requirement.name, message, f"pip install '{requirement.name}{requirement.specifier}'")
    yield from check_host()
    for name in ("torch", "transformers", "faiss-cpu", "numpy"):
        found = _installed(name)
        if found is not None and name not in {requirement.name for requirement in unmet}:
            yield Finding("ok", name, found)
    fire, ipython = (_installed(name) or "0" for name in ("fire", "ipython"))
    if Version(fire) < FIRE_WITHOUT_IPYTHON and Version(ipython) >= IPYTHON_WITHOUT_HELP:
        message = f"is {ipython}, with which `clip-retrieval --help` fails; its commands work"
        yield Finding("note", "ipython", message, f"pip install 'ipython<{IPYTHON_WITHOUT_HELP}'")


def check_host() -> Iterator[Finding]:
    """Whether clip-retrieval and what it brings are installed, where they are installed without their requirements."""
    from packaging.requirements import Requirement

    found = _installed("clip-retrieval")
    if sys.version_info < host.UNCAPPED_FROM:
        if found is not None:
            yield Finding("ok", "clip-retrieval", found)
        return
    unmet = [each for each in map(Requirement, host.WITHOUT_REQUIREMENTS) if not _is_met(each)]
    if unmet:
        missing = ", ".join(str(each) for each in unmet)
        message = f"{missing} not installed: on this Python, pip does not install them with {PACKAGE}"
        remedy = " ".join(["pip install --no-deps", *(f"'{each}'" for each in host.WITHOUT_REQUIREMENTS)])
        yield Finding("error", "clip-retrieval", message, remedy)
    else:
        yield Finding("ok", "clip-retrieval", f"{found}, beside current versions of what it requires")


def check_extras() -> Iterator[Finding]:
    """Which extras of the package are installed completely."""
    for extra in metadata.metadata(PACKAGE).get_all("Provides-Extra") or []:
        if extra in OTHER_EXTRAS:
            continue
        missing = [requirement.name for requirement in _requirements(extra) if not _is_met(requirement)]
        if missing:
            message = f"is incomplete: {', '.join(missing)} missing"
            yield Finding("note", f"[{extra}]", message, f"pip install '{PACKAGE}[{extra}]'")
        else:
            yield Finding("ok", f"[{extra}]", "is installed")


def check_programs() -> Iterator[Finding]:
    """Whether the programs are available that installed packages run."""
    needs_java = [name for name in ("pycocoevalcap", "pyspark") if _installed(name)]
    if needs_java:
        yield _check_program("java", "METEOR and SPICE in evaluate, and by jobs on Spark", "default-jre-headless")
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
    """Whether the plugin is enabled in this environment."""
    from clipgpt_retrieval.plugin import enabled_files

    files = enabled_files()
    if not files:
        return Finding(
            "note", "plugin", "is disabled: clip-retrieval runs without CLIP-GPT", "clipgpt-retrieval enable"
        )
    return Finding("ok", "plugin", f"is enabled by {', '.join(map(str, files))}")


def check_clip_retrieval_starts() -> Generator[Finding, None, None]:
    """Whether clip-retrieval starts in a new process, and whether the plugin takes effect there."""
    from clipgpt_retrieval.plugin import enabled_files

    try:
        started = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", STARTS], capture_output=True, text=True, timeout=START_SECONDS
        )
    except subprocess.TimeoutExpired:
        message = f"did not start within {START_SECONDS} seconds"
        yield Finding("error", "clip-retrieval", message, "run this command again when the machine is less busy")
        return
    if started.returncode != 0:
        reason = (started.stderr.strip().splitlines() or [f"exit status {started.returncode}"])[-1]
        if reason == "ModuleNotFoundError: No module named 'pkg_resources'":
            message = "starts only where the plugin is enabled, which replaces the pkg_resources that setuptools had"
            yield Finding("note", "clip-retrieval", message, "clipgpt-retrieval enable")
        else:
            message = f"does not start: {reason}"
            yield Finding("error", "clip-retrieval", message, "install it in a new environment")
        return
    yield Finding("ok", "clip-retrieval", "starts")
    if enabled_files() and started.stdout.strip() != "True":
        message = "is enabled, but has no effect on clip-retrieval"
        yield Finding("error", "plugin", message, "clipgpt-retrieval disable; clipgpt-retrieval enable")


def check_devices() -> Generator[Finding, None, None]:
    """The devices that torch can use."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())]
        yield Finding("ok", "devices", f"cuda: {', '.join(names)}")
    elif torch.backends.mps.is_available():
        yield Finding("ok", "devices", "mps")
    elif shutil.which("nvidia-smi"):
        message = f"only cpu, although nvidia-smi is installed (torch {torch.__version__})"
        yield Finding("note", "devices", message, "install the build of torch for your driver: pytorch.org")
    else:
        yield Finding("ok", "devices", "cpu")


def check_model(path: str) -> Generator[Finding, None, ClipGpt]:
    """Whether a model loads.

    Returns:
        The model.
    """
    from clipgpt_retrieval.engine import load

    model = load(path)
    clip = model.clip_model or "an unnamed CLIP"
    yield Finding(
        "ok", "model", f"{path} loads on {model.device} in {model.precision}: dimension {model.clip_dim}, for {clip}"
    )
    return model


def show_readback(model: ClipGpt) -> Generator[Finding, None, None]:
    """The readback of a text, where no index with captions is given."""
    import numpy as np

    if model.encodes:
        text = "two giraffes next to a fence"
        understood = model.caption(model.encode([text], space="image"))[0]
        message = f"reads “{text}” back as “{understood}”; an index with captions shows whether it is right"
    else:
        caption = model.caption(np.eye(1, model.clip_dim))[0]
        message = f"captions only; captions the first unit vector as “{caption}”; an index shows whether it fits"
    yield Finding("note", "model", message, "clipgpt-retrieval doctor --model MODEL --index FOLDER")


def check_index(path: str) -> Generator[Finding, None, Source]:
    """Whether an index opens, its embeddings can be read and its metadata is complete.

    Returns:
        The opened index.
    """
    from clipgpt_retrieval.index.source import open_index

    source = open_index(path)
    items = source.items
    message = f"{source.file} contains {len(items):,} items of dimension {items.dimension}"
    yield Finding("ok", "index", message)
    yield from _check_similarity(items)
    yield from _check_metadata(source.folder, len(items))
    yield from _check_fits(source.file)
    return source


def _check_similarity(items: Collection) -> Iterator[Finding]:
    """Whether the similarity of a result is a cosine, as the web page and thresholds of other indexes expect."""
    remedy = "normalise the embeddings, and build the index with --metric_type ip"
    if items.is_l2:
        message = "compares by L2: the similarity of a result is a squared distance, smaller for nearer items"
        yield Finding("note", "similarity", message, remedy)
    norms = items.norms()
    if not UNIT_NORMS[0] <= norms.mean() <= UNIT_NORMS[1]:
        message = f"embeddings have norms from {norms.min():.2f} to {norms.max():.2f}: similarities are not cosines"
        yield Finding("note", "similarity", message, remedy)


def check_fit(model: ClipGpt, source: Source) -> Generator[Finding, None, None]:
    """Whether a model and an index belong to the same CLIP, judged by captions of the index's own metadata."""
    from clipgpt_retrieval.evaluation.fit import MIN_ITEMS, measure_fit, sample_captions
    from clipgpt_retrieval.index.metadata import find_metadata, is_ordered_by_ivf

    dimension = source.items.dimension
    if model.clip_dim != dimension:
        message = f"do not match: the model has dimension {model.clip_dim}, the index {dimension}"
        yield Finding("error", "model, index", message, OTHER_MODEL)
        return
    yield Finding("ok", "model, index", f"both have dimension {dimension}; the index does not record its CLIP")
    parquet = find_metadata(source.folder).parquet
    captions = sample_captions(parquet[0]) if parquet and not is_ordered_by_ivf(source.folder) else {}
    captions = {row: caption for row, caption in captions.items() if row < len(source.items)}
    if len(captions) < MIN_ITEMS:
        message = "not compared: the metadata has too few captions in the order of the items"
        yield Finding("note", "model, index", message, "search for what the index contains, and look at the results")
        return
    yield from _judged(measure_fit(model, source.items, captions))


def _judged(fit: Fit) -> Iterator[Finding]:
    from clipgpt_retrieval.evaluation.fit import FITS_FROM

    yield Finding("note", "captions", f"an item with the caption “{fit.caption}” is captioned as “{fit.generated}”")
    shares = [f"generated captions are closest to their item's own in {fit.captioned:.0%}"]
    if fit.searched is not None:
        shares.insert(0, f"captions are closest to their own item in {fit.searched:.0%}")
    judged = f"{' and '.join(shares)} of comparisons with {fit.num_items - 1} others (chance: 50%)"
    if min(fit.captioned, 1.0 if fit.searched is None else fit.searched) >= FITS_FROM:
        yield Finding("ok", "model, index", f"fit: {judged}")
    else:
        message = f"this model does not fit this index, or the captions do not describe its items: {judged}"
        yield Finding("error", "model, index", message, OTHER_MODEL)


def _check_metadata(folder: Path, num_items: int) -> Iterator[Finding]:
    """Whether the parquet files beside an index have a row for each item."""
    from clipgpt_retrieval.index.metadata import find_metadata

    files = find_metadata(folder)
    if not files:
        message = f"is missing in {folder}: back does not start without it"
        yield Finding("error", "metadata", message, "copy the metadata folder of the embeddings into the index folder")
    rows = files.num_rows
    if rows is None:  # rows of hdf5 and arrow are not counted
        return
    if rows == num_items:
        yield Finding("ok", "metadata", f"{rows:,} rows, one per item")
    else:
        message = f"{rows:,} rows for {num_items:,} items: build the index again, results have the metadata of others"
        yield Finding("error", "metadata", message, "clip-retrieval index EMBEDDINGS_FOLDER INDEX_FOLDER")


def _check_fits(file: Path) -> Iterator[Finding]:
    import psutil

    size = sum(part.stat().st_size for part in (file.rglob("*") if file.is_dir() else [file]))
    free = psutil.virtual_memory().available
    if size > free:
        message = f"is {_size(size)} on disk, {_size(free)} of memory is free"
        yield Finding("note", "index", message, "add --enable_faiss_memory_mapping True to back")


def _check_program(name: str, use: str, debian_package: str) -> Finding:
    found = shutil.which(name)
    if found is None:
        return Finding("note", name, f"is not installed; used by {use}", f"apt-get install {debian_package}")
    return Finding("ok", name, found)


def examined(subject: str, check: Generator[Finding, None, Result]) -> Generator[Finding, None, Result | None]:
    """The findings of a check; an exception becomes a finding, too."""
    try:
        return (yield from check)
    except ClipGptError as error:
        yield Finding("error", subject, str(error))
    except Exception as error:  # a broken package can raise anything
        lines = str(error).strip().splitlines() or ["no message"]
        yield Finding("error", subject, f"{type(error).__name__}: {lines[0]}")
    return None


def _requirements(extra: str) -> Iterator[Requirement]:
    """The requirements of an extra in this environment; of the package itself where it is empty."""
    from packaging.requirements import Requirement

    for line in metadata.requires(PACKAGE) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        always_needed = marker is None or marker.evaluate({"extra": ""})
        if always_needed == (not extra) and (marker is None or marker.evaluate({"extra": extra})):
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
