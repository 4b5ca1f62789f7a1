"""Differences of low rank beside a backbone's weights, and the embeddings of new tokens, by peft."""

from collections.abc import Sequence
from typing import Any

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import ClipGptModel


def add_adapters(model: ClipGptModel, rank: int, new_tokens: Sequence[int]) -> Any:
    """Freezes the backbone, lays a difference of low rank beside each of its linear maps, and frees new tokens.

    What is not the backbone's stays trained as it is.

    Args:
        model: changed in place.
        rank: of the differences.
        new_tokens: ids whose embeddings are trained: the special tokens, which no language model knows beforehand.

    Returns:
        peft's handle, whose ``merge_and_unload`` writes all of it into the weights and leaves the model as it was.

    Raises:
        InputError: peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise InputError("recipe", "lora needs peft: pip install 'clipgpt-retrieval[lora]'") from None
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules="all-linear", trainable_token_indices=sorted(new_tokens)
    )
    return get_peft_model(model.backbone, config)
