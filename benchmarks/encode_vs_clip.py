"""Encoding one text by CLIP-GPT against CLIP's own text tower, as clip-retrieval serves it.

GPT-2 small's architecture and open_clip's ViT-L/14, both with random weights, alternate in one process. Prints the
ratio of the medians and the cosine to the embedding in float32.
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import open_clip
import torch
from _timing import conditions, median_seconds, parse_flags
from encode_speed import TEXT, general_gpt_directory

from clipgpt_retrieval.back.stock import stock_text_query
from clipgpt_retrieval.engine import load


def main() -> None:
    args = parse_flags(__doc__, runs=15)
    with tempfile.TemporaryDirectory() as folder:
        general_gpt_directory(Path(folder))
        engine, exact = load(folder, device="cpu"), load(folder, device="cpu", dtype="float32")
    torch.manual_seed(0)
    stock = SimpleNamespace(
        model=open_clip.create_model("ViT-L-14").eval(),
        tokenizer=open_clip.get_tokenizer("ViT-L-14"),
        device="cpu",
        aesthetic_embeddings=None,
    )

    sides = {
        "clip": lambda: stock_text_query(stock, TEXT),
        "ours": lambda: engine.encode([TEXT]),
        "float32": lambda: exact.encode([TEXT]),
    }
    taken = median_seconds(sides, args)
    print(
        f"CLIP's text tower {taken['clip'] * 1e3:.1f} ms, CLIP-GPT {taken['ours'] * 1e3:.1f} ms in "
        f"{str(engine.model.dtype).removeprefix('torch.')}, {taken['float32'] * 1e3:.1f} ms in float32"
    )
    print(conditions(args))
    print(f"cosine to float32: {float((engine.encode([TEXT]) * exact.encode([TEXT])).sum()):.5f}")
    print(f"ratio: {taken['ours'] / taken['clip']:.3f} (float32: {taken['float32'] / taken['clip']:.3f})")


if __name__ == "__main__":
    main()
