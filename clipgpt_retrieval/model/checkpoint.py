"""Clipgpt models on disk, on the hub and on any file system: save and load."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import fsspec
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from clipgpt_retrieval.errors import ModelError, first_line
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.fingerprint import fingerprint_files
from clipgpt_retrieval.model.general_gpt import is_general_gpt, load_general_gpt
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.progress_bars import without_progress_bars
from clipgpt_retrieval.model.resolve import as_folder, config_in
from clipgpt_retrieval.model.search_data import load_search_data, save_search_data
from clipgpt_retrieval.model.vocabulary import load_vocabulary
from clipgpt_retrieval.storage import new_folder

BROKEN = (
    OSError, SafetensorError, StrictDataclassError, ValueError, KeyError, TypeError, RuntimeError, AttributeError,
)  # fmt: skip
"""What transformers and safetensors raise on a broken model."""


def save(
    model: ClipGptModel,
    tokenizer: PreTrainedTokenizerBase,
    path: str,
    documents: dict[str, str] | None = None,
    folders: Sequence[Path] = (),
) -> None:
    """Writes a clipgpt model as safetensors with its configuration and tokenizer, complete or not at all.

    Args:
        model: what to save.
        tokenizer: holds the four special tokens.
        path: a directory or fsspec URL; an existing model there is replaced.
        documents: further files to write beside the weights, text by name.
        folders: further folders to copy there; those that do not exist are skipped.
    """
    with new_folder(path, last="config.json") as folder:
        for name, text in (documents or {}).items():
            (folder / name).write_text(text)
        for further in filter(Path.is_dir, folders):
            shutil.copytree(further, folder / further.name)
        with without_progress_bars():
            model.save_pretrained(folder)
        save_search_data(model.search, folder)
        save_tokenizer(tokenizer, folder)
        for weights in folder.glob("*.safetensors"):  # which safetensors writes for their owner only
            weights.chmod((folder / "config.json").stat().st_mode)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes a tokenizer in the names of transformers 4, which 5 also reads: 4 cannot read those of 5."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class LoadedModel(NamedTuple):
    """A model as it was read.

    Attributes:
        model: in float32 on the CPU, in evaluation mode.
        tokenizer: its tokenizer.
        fingerprint: of its files, see :mod:`~clipgpt_retrieval.model.fingerprint`.
    """

    model: ClipGptModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str


def load(path: str, *, tokenizer_path: str | None = None, embedding_norm: float | None = None) -> LoadedModel:
    """Reads a clipgpt model, or a General-GPT directory as a clipgpt model.

    Args:
        path: a directory, an fsspec URL, a hub id, or ``demo`` for the model that the package ships.
        tokenizer_path: the tokenizer, where it is not beside the weights (General-GPT's notebook saves it to a
            directory of its own).
        embedding_norm: the norm that a General-GPT model's input embeddings had in training, where it is known.

    Raises:
        ModelError: nothing is there, a file is missing or truncated, or it is another kind of model.
    """
    with as_folder(path) as folder, as_folder(tokenizer_path or str(folder)) as tokenizer_folder:
        kind = config_in(folder, path)["model_type"]
        tokenizer = _load_tokenizer(tokenizer_folder, tokenizer_path or path)
        with _as_model_error(path), without_progress_bars():
            if kind == ClipGptConfig.model_type:
                model, info = ClipGptModel.from_pretrained(
                    folder, output_loading_info=True, dtype=torch.float32, local_files_only=True, use_safetensors=True
                )
            elif is_general_gpt(tokenizer):
                model, info = load_general_gpt(folder, tokenizer, tokenizer_folder, embedding_norm)
            else:
                raise ModelError(
                    f"{path} holds a {kind} model without CLIP-GPT's four special tokens: give a clipgpt model, "
                    "or train one with this as --backbone"
                )
            model.search = load_search_data(folder, model.config)
            model.vocabulary = load_vocabulary(folder)
        missing = [key for key in info["missing_keys"] if key not in (model._tied_weights_keys or [])]
        if missing or info["mismatched_keys"]:
            raise ModelError(
                f"{path}: the weights lack {len(missing)} tensors that the configuration names "
                f"({', '.join(missing[:3])}): fetch or save the model again"
            )
        return LoadedModel(model.eval(), tokenizer, fingerprint_files(folder, tokenizer_folder))


def read_document(path: str, name: str) -> str | None:
    """The text of a file beside a model's weights, or None where there is no such file.

    Raises:
        ModelError: there is no such model.
    """
    with as_folder(path) as folder:
        file = folder / name
        return file.read_text() if file.is_file() else None


def set_min_similarity(path: str, min_similarity: float, match_thresholds: dict[str, float] | None = None) -> None:
    """Writes thresholds into a model's configuration; nothing else of the model is touched.

    Args:
        path: a directory or fsspec URL that holds a clipgpt model.
        min_similarity: a cosine to the image embedding, 0 to 1.
        match_thresholds: see :class:`~clipgpt_retrieval.model.config.ClipGptConfig`.

    Raises:
        ModelError: see :func:`check_takes_min_similarity`.
    """
    check_takes_min_similarity(path)
    fs, root = fsspec.core.url_to_fs(path.rstrip("/"))
    file = f"{root}/config.json"
    thresholds = {"min_similarity": min_similarity, "match_thresholds": match_thresholds}
    config = {**json.loads(fs.cat_file(file)), **thresholds}
    aside = f"{file}.{uuid4().hex[:8]}.part"
    fs.pipe_file(aside, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
    fs.mv(aside, file)


def check_takes_min_similarity(path: str) -> None:
    """Refuses a path that :func:`set_min_similarity` cannot write to.

    Raises:
        ModelError: not a directory or URL of a clipgpt model.
    """
    fs, root = fsspec.core.url_to_fs(path.rstrip("/"))
    file = f"{root}/config.json"
    if not fs.exists(file):
        raise ModelError(f"{path} has no config.json to write min_similarity to: give a directory or an fsspec URL")
    if json.loads(fs.cat_file(file)).get("model_type") != ClipGptConfig.model_type:
        raise ModelError(f"{path} is not a clipgpt model, and only their config has min_similarity: convert it")


def _load_tokenizer(folder: Path, path: str) -> PreTrainedTokenizerBase:
    with _as_model_error(path):
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:
            # On a damaged file tokenizers raises a bare exception, and transformers 5, which reads it first, any.
            if type(error) is Exception or not _is_json_object(folder / "tokenizer.json"):
                raise ValueError(f"tokenizer.json: {error}") from error
            raise


def _is_json_object(file: Path) -> bool:
    """Whether a file is a JSON object; true where there is none."""
    try:
        return not file.exists() or isinstance(json.loads(file.read_bytes()), dict)
    except ValueError:
        return False


@contextmanager
def _as_model_error(path: str) -> Iterator[None]:
    """Turns the errors of transformers and safetensors on a broken model into a ModelError of one line."""
    try:
        yield
    except BROKEN as error:
        raise ModelError(f"{path} cannot be loaded: {first_line(error)}") from error
