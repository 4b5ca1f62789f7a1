"""Other systems' models as clipgpt models, and a clipgpt model as General-GPT's notebook would have saved it."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from clipgpt_retrieval.errors import InputError, ModelError
from clipgpt_retrieval.model.checkpoint import load, read_document, save
from clipgpt_retrieval.model.clipcap import load_clipcap
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.tokenizer import load_tokenizer
from clipgpt_retrieval.storage import check_new_folder, new_folder


def convert(source: str, output: str, *, tokenizer: str | None = None, embedding_norm: float | None = None) -> str:
    """Converts a model by what it is.

    Args:
        source: path or fsspec URL of a General-GPT directory or a ClipCap ``.pt`` file, to become a clipgpt model, or
            of a clipgpt model, to become a General-GPT directory.
        output: directory or fsspec URL to write; an earlier model there is replaced.
        tokenizer: directory, fsspec URL or hub id, where it does not lie beside the weights; ClipCap's is gpt2's.
        embedding_norm: norm that the embeddings had in training, where it is known.

    Returns:
        In a sentence, what was made of what.

    Raises:
        ModelError: the source cannot be read, or cannot be what it should become.
        InputError: the output would take the place of the source, or of what is no model; a norm that is none, or that
            is given for a clipgpt model.
    """
    if embedding_norm is not None and not _is_norm(embedding_norm):
        raise InputError("embedding_norm", f"is {embedding_norm!r}, it must be a finite number above 0")
    check_new_folder("output", output, "config.json", [source, *([tokenizer] if tokenizer else [])])
    if source.endswith(".pt"):
        network = load_clipcap(source, embedding_norm)
        save(network, _tokenizer(tokenizer or "gpt2", network), output)
        return (
            f"{output} holds {source}, a ClipCap with {network.config.prefix_length} prefix vectors, as a clipgpt "
            "model. It captions; text queries use CLIP's own text tower."
        )
    network, words, _ = load(source, tokenizer_path=tokenizer, embedding_norm=embedding_norm)
    if _is_clipgpt(source):
        if embedding_norm is not None:
            raise InputError("embedding_norm", f"{source} is a clipgpt model and knows its own: leave the flag out")
        _save_as_general_gpt(network, words, source, output)
        return f"{output} holds {source} as General-GPT's notebook saves its models"
    save(network, words, output)
    return (
        f"{output} holds {source}, a General-GPT, as a clipgpt model; the norm of the embeddings that it reads is "
        f"{network.config.embedding_norm:.2f}{'' if embedding_norm else ', as measured on what it predicts'}"
    )


def _is_norm(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _is_clipgpt(source: str) -> bool:
    config = json.loads(read_document(source, "config.json") or "{}")
    return config.get("model_type") == ClipGptConfig.model_type


def _tokenizer(path: str, network: ClipGptModel) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(path)
    if len(tokenizer) != len(network.token_weight):
        raise ModelError(
            f"tokenizer {path} has {len(tokenizer)} tokens and the model {len(network.token_weight)}: name the one "
            "that it was trained with"
        )
    return tokenizer


def _save_as_general_gpt(network: ClipGptModel, words: PreTrainedTokenizerBase, source: str, output: str) -> None:
    config = network.config
    found = {
        "clip_in": config.clip_in,
        "clip_out": config.clip_out,
        "prefix_length": config.prefix_length,
        "readout_layers": config.readout_layers,
        "readout_pool": config.readout_pool,
        "query_repeats": config.query_repeats,
        "caption_from": config.caption_from,
    }
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
        if found[name] != value:
            raise ModelError(
                f"{source} has {name} {found[name]!r} and General-GPT has {value!r}: only a model of the recipe "
                "general-gpt can become one"
            )
    with new_folder(output, last="config.json") as folder:
        words.save_pretrained(folder, legacy_format=True)
        if not (folder / "vocab.json").is_file():
            raise ModelError(f"{source}: its tokenizer is not GPT-2's, which alone General-GPT's notebook reads")
        if not config.spaces_around_special_tokens:
            _mark_as_without_spaces(folder)
        network.backbone.save_pretrained(folder, safe_serialization=True)


def _mark_as_without_spaces(folder: Path) -> None:
    """Leaves out the table by which a reader knows a tokenizer that keeps the spaces beside special tokens."""
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings.pop("added_tokens_decoder", None)
    file.write_text(json.dumps(settings, indent=2))
