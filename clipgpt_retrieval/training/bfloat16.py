"""Whether training in bfloat16 is worth it on a device."""

import torch

from clipgpt_retrieval.engine.precision import has_bfloat16_units


def has_bfloat16(device: torch.device | str) -> bool:
    """Whether a device computes in bfloat16 itself.

    One that emulates it is slower by it; a processor without AVX-512 takes hundreds of times as long for a product of
    matrices as in float32.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return has_bfloat16_units()
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
