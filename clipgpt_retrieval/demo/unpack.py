"""Unpacks the shipped demo into a collection that clip-retrieval can read.

The package may be installed in a zip file or a read-only folder, and a collection's metadata names its images by
absolute paths. Therefore the demo is unpacked once, into the user's cache.
"""

import json
import shutil
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.storage import cache_folder

SHIPPED = Path(__file__).parent / "shipped"
DIGEST = SHIPPED / "digest.txt"
"""Identifies a build of the demo."""

FILES = "files.json"
"""The sizes of the unpacked files, by name."""


def unpacked() -> Path:
    """The folder with ``collection/``, ``clip.safetensors`` and ``indices_paths.json``, unpacked if it is not there.

    Raises:
        DataError: the installation lacks the demo's files, or the cache cannot be written.
    """
    if not DIGEST.is_file():
        raise DataError(f"{SHIPPED} lacks the demo's files: reinstall the package, or run demo --build")
    cache = cache_folder().resolve()
    # The unpacked demo contains absolute paths, so each location of the cache needs its own.
    key = sha256(f"{DIGEST.read_text().strip()} {cache}".encode()).hexdigest()[:12]
    target = cache / f"demo-{key}"
    if _is_complete(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not _is_complete(target):
                _replace(target)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the demo cannot be unpacked into {target.parent}: {reason}") from error
    return target


def _is_complete(target: Path) -> bool:
    """Whether all files are there: caches are cleaned up by age, file by file."""
    try:
        sizes: dict[str, int] = json.loads((target / FILES).read_text())
        return all((target / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _replace(target: Path) -> None:
    """Unpacks into ``target``, in place of an incomplete folder. No other process does so."""
    for abandoned in target.parent.glob(f"{target.name}-*"):  # of a killed process
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{target.name}-", dir=target.parent) as aside:
        folder = Path(aside) / "demo"
        _unpack(SHIPPED, folder, target)
        files = (path for path in folder.rglob("*") if path.is_file())
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
        (folder / FILES).write_text(json.dumps(sizes))
        if target.exists():
            target.rename(Path(aside) / "incomplete")
        folder.rename(target)


def _unpack(shipped: Path, folder: Path, final: Path) -> None:
    """Unpacks into ``folder``, which will be renamed to ``final``."""
    from clipgpt_retrieval.demo.clip import unpack

    with zipfile.ZipFile(shipped / "collection.zip") as archive:
        archive.extractall(folder / "collection")
    for metadata in (folder / "collection").rglob("*.parquet"):
        _name_images(metadata, final / "collection" / "images")
    unpack(shipped / "clip" / "weights.safetensors", folder / "clip.safetensors")
    (folder / "indices_paths.json").write_text(json.dumps({"demo": str(final / "collection" / "index")}) + "\n")


def _name_images(metadata: Path, images: Path) -> None:
    import pandas as pd

    rows = pd.read_parquet(metadata)
    rows["image_path"] = [str(images / name) for name in rows["image_path"]]
    rows.to_parquet(metadata)
