"""Weights mapped from their safetensors files: memory holds the pages that were read, until they are let go.

What transformers and safetensors map themselves stays in memory whole once it was read. Here a large model can be read
through once, to be converted or compared, in the memory of its largest layer.
"""

import json
import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class MappedWeights:
    """The tensors of a folder that holds safetensors files, in one file or in shards.

    Args:
        folder: may be deleted afterwards, on systems that keep mapped files.

    Attributes:
        tensors: by name, with the types of the file.

    Raises:
        SafetensorError: a file that is cut short or no safetensors.
        OSError: a shard that is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._maps: list[mmap.mmap] = []
        for file in _files(folder):
            self._map(file)

    def _map(self, file: Path) -> None:
        with safe_open(file, "pt"):  # checks the header against the file's length
            pass
        with file.open("rb") as opened:
            # Copied when written to: what is done to a model never reaches its file.
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        start = 8 + int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8:start]).items():
            if name != "__metadata__":
                count = math.prod(entry["shape"])
                offset = start + entry["data_offsets"][0]
                flat = torch.frombuffer(content, dtype=TYPES[entry["dtype"]], count=count, offset=offset)
                self.tensors[name] = flat.view(entry["shape"])
        self._maps.append(content)

    def let_go(self) -> None:
        """Drops the pages that were read from memory: they are read again when needed, and what was written is lost."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for content in self._maps:
                content.madvise(mmap.MADV_DONTNEED)

    @contextmanager
    def let_go_by(self, network: nn.Module) -> Iterator[None]:
        """While the context lasts, pages are let go after every layer of ``network`` that has weights of its own."""
        layers = [layer for layer in network.modules() if next(layer.parameters(recurse=False), None) is not None]
        hooks = [layer.register_forward_hook(lambda *_: self.let_go()) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def has_mapped_weights(folder: Path) -> bool:
    """Whether a folder holds its weights as safetensors."""
    return (folder / WEIGHTS).is_file() or (folder / SHARDS).is_file()


def _files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    places = json.loads((folder / SHARDS).read_text())["weight_map"]
    return [folder / name for name in sorted(set(places.values()))]
