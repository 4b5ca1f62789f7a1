"""The demo's own CLIP: an open_clip model small enough to ship.

CLIP's vocabulary has 49,408 tokens, whose embeddings would be most of the size of so small a text tower. The demo's
captions use a few hundred of them. Only those rows are shipped; unpacking restores the full table, with zeros for
tokens that no caption has.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

ARCHITECTURE = "clipgpt-demo"
CONFIG_FOLDER = Path(__file__).parent / "shipped" / "clip"
TABLE = "token_embedding.weight"
TABLE_ROWS = "token_embedding.rows"


def register() -> None:
    """Registers the architecture with open_clip in this process."""
    import open_clip

    if ARCHITECTURE not in open_clip.list_models():
        open_clip.add_model_config(CONFIG_FOLDER)


def clip_model(checkpoint: Path) -> str:
    """The name by which clip-retrieval loads a complete checkpoint, after :func:`register`."""
    return f"open_clip:{ARCHITECTURE}/{checkpoint}"


def ship(weights: dict[str, torch.Tensor], used_tokens: np.ndarray, file: Path) -> None:
    """Writes a CLIP's weights as float16, its token table reduced to the rows of ``used_tokens`` (int64 ``[u]``)."""
    rows = torch.from_numpy(used_tokens)
    small = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    small[TABLE] = small[TABLE][rows]
    small[TABLE_ROWS] = rows
    save_file({name: tensor.contiguous() for name, tensor in small.items()}, file)


def unpack(shipped: Path, checkpoint: Path) -> None:
    """Writes a checkpoint for open_clip from the file that :func:`ship` wrote."""
    import open_clip

    weights = load_file(shipped)
    rows = weights.pop(TABLE_ROWS)
    register()
    size = open_clip.get_model_config(ARCHITECTURE)["text_cfg"]["vocab_size"]
    table = torch.zeros(size, weights[TABLE].shape[1], dtype=torch.float16)
    table[rows] = weights[TABLE]
    weights[TABLE] = table
    save_file(weights, checkpoint)
