"""Differences of low rank beside a backbone's weights, by peft."""

from typing import Any

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import ClipGptModel


def add_adapters(network: ClipGptModel, rank: int) -> Any:
    """Freezes the backbone and lays a difference of low rank beside each of its linear maps.

    What is not the backbone's stays trained as it is.

    Args:
        network: changed in place.
        rank: of the differences.

    Returns:
        peft's handle, whose ``merge_and_unload`` adds the differences to the weights and leaves the network as it was.

    Raises:
        InputError: peft is not installed.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError:
        raise InputError("recipe", "lora needs peft: pip install 'clipgpt-retrieval[lora]'") from None
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear")
    return LoraModel(network.backbone, {"default": config}, "default")
