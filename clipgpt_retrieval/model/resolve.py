"""Where models lie: directories, fsspec URLs, hub ids and those that the package carries; read without torch."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fsspec

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.storage import is_url, local_folder, local_path

SHIPPED = {"demo": Path(__file__).parents[1] / "demo" / "shipped" / "clipgpt"}
"""Models that the package carries, by the name under which they are loaded; ``./demo`` is a folder of one's own."""

CONFIG = "config.json"

HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""What is fetched of a hub's repository: no pickles and no other framework's weights."""

UNREADABLE = "config.json cannot be read: fetch or save the model again"


@contextmanager
def as_folder(path: str, hub_files: Sequence[str] = HUB_FILES) -> Iterator[Path]:
    """The local folder that holds what ``path`` names: a directory, an fsspec URL or a hub id.

    Args:
        path: as it was given.
        hub_files: what is fetched of a hub's repository.

    Raises:
        ModelError: nothing is there, or it cannot be fetched.
    """
    if path in SHIPPED and not SHIPPED[path].is_dir():
        raise ModelError(f"this installation lacks the {path} model: install the package again, or run demo --build")
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


def read_config(path: str) -> dict[str, Any]:
    """A model's configuration as its file has it, without the weights.

    Args:
        path: a directory, an fsspec URL, a hub id, or ``demo``.

    Raises:
        ModelError: nothing there, no configuration in it, or it cannot be fetched.
    """
    if is_url(path):
        try:
            fs, root = fsspec.core.url_to_fs(path.rstrip("/"))
            text = fs.cat_file(f"{root}/{CONFIG}")
        except FileNotFoundError:
            raise ModelError(f"{path} holds no {CONFIG}: it is not there, or no clipgpt model") from None
        except Exception as error:  # every file system has errors of its own
            raise _unreachable(path, error) from error
        return _parsed(text, path)
    with as_folder(path, [CONFIG]) as folder:
        return config_in(folder, path)


def config_in(folder: Path, path: str) -> dict[str, Any]:
    """The configuration that lies in the folder of the model at ``path``; it names its ``model_type``.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise ModelError(f"{path} has no {CONFIG}: it is not a clipgpt model")
    return _parsed(file.read_bytes(), path)


def clip_dim_of(config: dict[str, Any]) -> int | None:
    """The dimension of the embeddings that a model reads, or None where its configuration does not tell it.

    A General-GPT model, which is a plain language model, reads embeddings as wide as its own vectors.
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
    told = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return ModelError(f"{path} cannot be fetched ({told}): check the address, and that what it needs is installed")


def _fetch_from_hub(hub_id: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{hub_id} is neither a directory here nor a model that the hub gives out "
            f"({type(error).__name__}): check the name and the network"
        ) from error
