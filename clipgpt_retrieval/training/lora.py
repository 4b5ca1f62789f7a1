"""LoRA adapters of a backbone and the embeddings of its new tokens, by peft."""

from collections.abc import Sequence
from typing import Any

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import ClipGptModel


def add_adapters(model: ClipGptModel, rank: int, new_tokens: Sequence[int]) -> Any:
    """Freezes the backbone, and adds adapters to its linear layers and to the embeddings of new tokens.

    Layers outside the backbone are not changed.

    Args:
        model: changed in place.
        rank: of the adapters.
        new_tokens: ids whose embeddings are trained: the special tokens, which the pretrained model does not know.

    Returns:
        peft's model, whose ``merge_and_unload`` merges the adapters into the weights and removes them.

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
