"""Where models are found: directories, fsspec URLs, hub ids and shipped models. Imports no torch."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fsspec

from clipgpt_retrieval.errors import ModelError, first_line
from clipgpt_retrieval.storage import is_url, local_folder, local_path

SHIPPED = {"demo": Path(__file__).parents[1] / "demo" / "shipped" / "clipgpt"}
"""Models that the package ships, by the name that loads them; a folder of your own of that name is ``./demo``."""

CONFIG = "config.json"

HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""The files that are downloaded from a hub repository: no pickles and no other framework's weights."""

HUB_SECONDS = 10
"""Timeout of the attempt to reach the hub."""

UNREADABLE = "config.json cannot be read: fetch or save the model again"


@contextmanager
def as_folder(path: str, hub_files: Sequence[str] = HUB_FILES) -> Iterator[Path]:
    """A local folder with the files of a model, while the context lasts.

    Args:
        path: a directory, an fsspec URL, a hub id, or ``demo``.
        hub_files: patterns of the files to download from a hub repository.

    Raises:
        ModelError: nothing is there, or it cannot be downloaded.
    """
    if path in SHIPPED and not SHIPPED[path].is_dir():
        raise ModelError(
            f"the {path} model is not in this installation: install the package again, or run demo --build"
        )
    path = str(SHIPPED.get(path, path))
    if not (is_url(path) or Path(path).exists() or path.count("/") > 1 or path.startswith((".", "/", "~"))):
        yield _fetch_from_hub(path, hub_files)
        return
    if not is_url(path) and local_path(path).is_file():
        raise ModelError(f"{path} is a file: give the directory that holds the model")
    with ExitStack() as kept:
        try:
            folder = kept.enter_context(local_folder(path))
        except FileNotFoundError:
            raise ModelError(f"{path} does not exist: give a directory, a hub id or an fsspec URL") from None
        except Exception as error:  # every file system has errors of its own
            raise _unreachable(path, error) from error
        yield folder


def cached_where_offline(path: str) -> str:
    """The folder of a hub id in the hub's cache where one attempt to reach the hub fails; else the path as it is.

    transformers itself attempts it for a minute and a half.

    Raises:
        FileNotFoundError: the hub cannot be reached, and its cache does not have the model.
    """
    if is_url(path) or path.startswith((".", "/", "~")) or Path(path).exists():
        return path
    import requests
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        requests.head(ENDPOINT, timeout=HUB_SECONDS)
        return path
    except requests.RequestException:
        pass
    try:
        return snapshot_download(path, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        raise FileNotFoundError("the hub cannot be reached, and its cache does not have it") from None


def read_config(path: str) -> dict[str, Any]:
    """A model's ``config.json``, read without the weights.

    Args:
        path: a directory, an fsspec URL, a hub id, or ``demo``.

    Raises:
        ModelError: nothing is there, it has no configuration, or it cannot be downloaded.
    """
    if is_url(path):
        try:
            fs, root = fsspec.core.url_to_fs(path.rstrip("/"))
            text = fs.cat_file(f"{root}/{CONFIG}")
        except FileNotFoundError:
            raise ModelError(f"{path} has no {CONFIG}: it does not exist, or is not a clipgpt model") from None
        except Exception as error:  # every file system has errors of its own
            raise _unreachable(path, error) from error
        return _parsed(text, path)
    with as_folder(path, [CONFIG]) as folder:
        return config_in(folder, path)


def config_in(folder: Path, path: str) -> dict[str, Any]:
    """The configuration in the local folder of the model at ``path``.

    Raises:
        ModelError: there is none, it cannot be parsed, or it lacks ``model_type``.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise ModelError(f"{path} has no {CONFIG}: it is not a clipgpt model")
    return _parsed(file.read_bytes(), path)


def clip_dim_of(config: dict[str, Any]) -> int | None:
    """The dimension of a model's embeddings, or None where its configuration does not record it.

    For a General-GPT model, which is a plain language model, it is the hidden size.
    """
    names = ("clip_dim",) if config["model_type"] == "clipgpt" else ("n_embd", "hidden_size")
    return next((config[name] for name in names if name in config), None)


def _parsed(text: bytes, path: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError:
        raise ModelError(f"{path}: {UNREADABLE}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(f"{path}: {UNREADABLE}")
    return config


def _unreachable(path: str, error: Exception) -> ModelError:
    reason = first_line(error).rstrip(".")
    return ModelError(f"{path} cannot be downloaded ({reason}): check the URL, and that its fsspec driver is installed")


def _fetch_from_hub(hub_id: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{hub_id} is neither a directory nor a model on the hub that can be downloaded "
            f"({type(error).__name__}): check the name and the network"
        ) from error
