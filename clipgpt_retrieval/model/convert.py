"""Converts General-GPT and ClipCap models to clipgpt models, and clipgpt models to General-GPT's layout."""

import json
from pathlib import Path

from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase

from clipgpt_retrieval.errors import InputError, ModelError
from clipgpt_retrieval.model.checkpoint import load, read_document, save, save_tokenizer
from clipgpt_retrieval.model.clipcap import load_clipcap
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.tokenizer import load_tokenizer
from clipgpt_retrieval.storage import check_new_folder, new_folder


def convert(source: str, output: str, *, tokenizer: str | None = None, embedding_norm: float | None = None) -> str:
    """Converts a model; the kind of the source decides to what.

    Args:
        source: path or fsspec URL of a General-GPT directory or a ClipCap ``.pt`` file, for a clipgpt model, or of a
            clipgpt model, for a General-GPT directory.
        output: directory or fsspec URL to write; an existing model there is replaced.
        tokenizer: directory, fsspec URL or hub id, where it is not beside the weights; ClipCap's is gpt2.
        embedding_norm: norm of the embeddings in training, where it is known.

    Returns:
        What was converted, in a sentence.

    Raises:
        ModelError: the source cannot be read or converted.
        InputError: the output would replace the source or something other than a model; a norm that is not positive
            and finite, or that is given for a clipgpt model.
    """
    if embedding_norm is not None and not _is_norm(embedding_norm):
        raise InputError("embedding_norm", f"is {embedding_norm!r}, it must be finite and above 0")
    check_new_folder("output", output, "config.json", [source, *([tokenizer] if tokenizer else [])])
    if source.endswith(".pt"):
        model = load_clipcap(source, embedding_norm)
        save(model, _clipcap_tokenizer(tokenizer or "gpt2", model), output)
        return (
            f"converted {source} (ClipCap, {model.config.prefix_length} prefix vectors) to clipgpt model {output}; "
            "it captions only: text queries use CLIP's own text tower"
        )
    model, own_tokenizer, _ = load(source, tokenizer_path=tokenizer, embedding_norm=embedding_norm)
    if _is_clipgpt(source):
        if embedding_norm is not None:
            raise InputError("embedding_norm", f"{source} is a clipgpt model, which records its norm: omit the flag")
        _save_as_general_gpt(model, own_tokenizer, source, output)
        return f"converted {source} to a General-GPT model in {output}"
    save(model, own_tokenizer, output)
    how = "" if embedding_norm else ", measured on its predictions"
    return (
        f"converted {source} (General-GPT) to a clipgpt model in {output}; "
        f"embedding norm {model.config.embedding_norm:.2f}{how}"
    )


def _is_norm(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _is_clipgpt(source: str) -> bool:
    config = json.loads(read_document(source, "config.json") or "{}")
    return config.get("model_type") == ClipGptConfig.model_type


def _clipcap_tokenizer(path: str, model: ClipGptModel) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(path)
    if len(tokenizer) != len(model.token_weight):
        raise ModelError(
            f"tokenizer {path} has {len(tokenizer)} tokens, expected {len(model.token_weight)}: give the tokenizer "
            "that the model was trained with"
        )
    return tokenizer


def _save_as_general_gpt(model: ClipGptModel, tokenizer: PreTrainedTokenizerBase, source: str, output: str) -> None:
    config = model.config
    needed = {
        "clip_in": "identity",
        "clip_out": "identity",
        "prefix_length": 1,
        "readout_layers": [-1],
        "readout_pool": "last",
        "query_repeats": 1,
        "caption_from": "prefix",
    }
    for name, value in needed.items():
        if getattr(config, name) != value:
            raise ModelError(
                f"{source} has {name} {getattr(config, name)!r}, General-GPT has {value!r}: only a model of the recipe "
                "general-gpt can be converted"
            )
    with new_folder(output, last="config.json") as folder:
        save_tokenizer(tokenizer, folder)
        _write_notebooks_vocabulary(tokenizer, folder, source)
        if not config.spaces_around_special_tokens:
            _mark_as_without_spaces(folder)
        model.backbone.save_pretrained(folder)


def _write_notebooks_vocabulary(tokenizer: PreTrainedTokenizerBase, folder: Path, source: str) -> None:
    """Writes the files of GPT-2's tokenizer that the notebook's transformers reads, which current ones do not write."""
    bpe = tokenizer.backend_tokenizer.model
    if not isinstance(bpe, BPE):
        raise ModelError(f"{source}: its tokenizer is not GPT-2's, the only one that General-GPT's notebook reads")
    bpe.save(str(folder))  # vocab.json, merges.txt
    known = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    added = {token: index for token, index in tokenizer.get_added_vocab().items() if token not in known}
    (folder / "added_tokens.json").write_text(json.dumps(added, indent=2), encoding="utf-8")


def _mark_as_without_spaces(folder: Path) -> None:
    """Removes what marks a tokenizer as one that keeps the spaces beside special tokens."""
    (folder / "tokenizer.json").unlink()
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings.pop("added_tokens_decoder", None)
    file.write_text(json.dumps(settings, indent=2))
