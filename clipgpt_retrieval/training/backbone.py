"""The language model to fine-tune: from a hub, a directory, a GGUF file, or with random weights."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from clipgpt_retrieval.errors import InputError, ModelError
from clipgpt_retrieval.model.config import SPECIAL_TOKENS
from clipgpt_retrieval.model.resolve import cached_where_offline
from clipgpt_retrieval.model.tokenizer import load_tokenizer
from clipgpt_retrieval.storage import local_copy

SCRATCH_SIZES = {"tiny": (2, 128, 4), "small": (6, 384, 6)}
"""Layers, width and heads of ``scratch:NAME``."""

SCRATCH_CONTEXT = 256


def load_backbone(
    backbone: str, tokenizer: str | None = None, width: int | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model whose tokenizer and embeddings include the four special tokens.

    Args:
        backbone: a hub id, a directory, an fsspec URL, a ``.gguf`` file, or ``scratch:tiny`` / ``scratch:small``.
        tokenizer: a directory, hub id or fsspec URL; needed by ``scratch:``, else taken from the backbone.
        width: hidden width of a ``scratch:`` model instead of its own.

    Raises:
        InputError: an unknown scratch size, or scratch without a tokenizer.
        ModelError: the backbone or tokenizer cannot be loaded.
    """
    if backbone.startswith("scratch:"):
        return _scratch(backbone.removeprefix("scratch:"), tokenizer, width)
    path, gguf_file = _gguf_parts(backbone)
    try:
        with local_copy(cached_where_offline(path)) as local:
            model = AutoModelForCausalLM.from_pretrained(
                local,
                gguf_file=gguf_file,
                dtype=torch.float32,
                trust_remote_code=False,
            )
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(
            f"backbone {backbone} cannot be loaded, check the name and the network or give a directory or .gguf file: "
            f"{str(error).splitlines()[0]}"
        ) from error
    loaded = load_tokenizer(tokenizer) if tokenizer else load_tokenizer(path, gguf_file)
    loaded.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    with _without_transformers_warnings():  # of mean_resizing, which is what is wanted
        model.resize_token_embeddings(len(loaded))
    return model, loaded


@contextmanager
def _without_transformers_warnings() -> Iterator[None]:
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _scratch(size: str, tokenizer: str | None, width: int | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if size not in SCRATCH_SIZES:
        raise InputError(
            "backbone", f"'scratch:{size}' is unknown: choose scratch:{' or scratch:'.join(SCRATCH_SIZES)}"
        )
    if tokenizer is None:
        raise InputError("tokenizer", "is missing: a scratch backbone needs --tokenizer, a directory or hub id")
    loaded = load_tokenizer(tokenizer)
    loaded.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    layers, own_width, heads = SCRATCH_SIZES[size]
    config = GPT2Config(
        vocab_size=len(loaded),
        n_positions=SCRATCH_CONTEXT,
        n_layer=layers,
        n_embd=width or own_width,
        n_head=heads if (width or own_width) % heads == 0 else 4,
        bos_token_id=loaded.bos_token_id,
        eos_token_id=loaded.eos_token_id,
    )
    return GPT2LMHeadModel(config), loaded


def _gguf_parts(backbone: str) -> tuple[str, str | None]:
    if not backbone.endswith(".gguf"):
        return backbone, None
    folder, name = os.path.split(backbone)
    return folder or ".", name
