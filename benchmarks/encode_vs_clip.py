"""Encoding one text by CLIP-GPT, and by CLIP's text tower as stock clip-retrieval runs it and as ours does.

GPT-2 small's architecture and open_clip's ViT-L/14, both with random weights, alternate in one process. Prints the
ratios of the medians and the cosines to the embedding in float32, or to that of the stock tower.
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import open_clip
import torch
from _timing import conditions, median_seconds, parse_flags
from clip_retrieval.clip_back import KnnService
from encode_speed import TEXT, general_gpt_directory

from clipgpt_retrieval.engine import load
from clipgpt_retrieval.engine.text_tower import TextTower


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
    cut, fast = (TextTower(stock.model, stock.tokenizer, "cpu", fast=fast) for fast in (False, True))
    service = KnnService(clip_resources={})
    clip = {"use_mclip": False, **dict.fromkeys(["image_input", "image_url_input", "embedding_input"])}
    clip |= {"aesthetic_score": None, "aesthetic_weight": None}

    sides = {
        "clip": lambda: service.compute_query(stock, TEXT, **clip),
        "cut": lambda: cut.encode([TEXT]),
        "fast": lambda: fast.encode([TEXT]),
        "ours": lambda: engine.encode([TEXT]),
        "float32": lambda: exact.encode([TEXT]),
    }
    taken = median_seconds(sides, args)
    print(
        f"CLIP's text tower {taken['clip'] * 1e3:.1f} ms, cut {taken['cut'] * 1e3:.1f} ms in float32 and "
        f"{taken['fast'] * 1e3:.1f} ms in low precision; CLIP-GPT {taken['ours'] * 1e3:.1f} ms in "
        f"{engine.precision}, {taken['float32'] * 1e3:.1f} ms in float32"
    )
    print(conditions(args))
    own = sides["clip"]()
    print(f"cosine to CLIP's: cut {float((cut.encode([TEXT]) * own).sum()):.7f}, fast", end=" ")
    print(f"{float((fast.encode([TEXT]) * own).sum()):.5f}")
    print(f"CLIP's tower, ratio: {taken['fast'] / taken['clip']:.3f} (float32: {taken['cut'] / taken['clip']:.3f})")
    print(f"cosine to float32: {float((engine.encode([TEXT]) * exact.encode([TEXT])).sum()):.5f}")
    print(f"ratio: {taken['ours'] / taken['clip']:.3f} (float32: {taken['float32'] / taken['clip']:.3f})")


if __name__ == "__main__":
    main()
