"""Whether a device computes in bfloat16 natively."""

import torch

from clipgpt_retrieval.engine.precision import has_bfloat16_units


def has_bfloat16(device: torch.device | str) -> bool:
    """Whether a device computes in bfloat16 natively.

    Emulation is slower than float32; on CPUs without AVX-512 by a factor of hundreds for matrix products.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return has_bfloat16_units()
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
