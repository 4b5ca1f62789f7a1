"""What texts without pictures and noise on embeddings do for captions, on 820 real Flickr8k embeddings.

A small GPT-2 from scratch is trained three times on the same 656 pictures: as it is, with 35,530 captions of other
photographs as ``--texts``, and with these and ``--embedding_noise``. Prints for each held-out caption loss and R@10;
then, for the last two, the held-out caption loss and CIDEr-D of captions read from embeddings that faiss's product
quantiser has compressed to 8, 16, 32, 64 and 128 bytes (a fifth of the pictures is held out, the quantiser learns from
the others), beside those of the embeddings as they are.

    python benchmarks/flickr8k_texts_and_noise.py           # about fifteen minutes on two cores
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from _paths import FLICKR, GPT2_BPE, flickr

FRACTION, SEED = 0.2, 0
STEPS, BATCH, LEARNING_RATE = 300, 64, 1e-3
NOISE = 0.5
PQ_BYTES = (8, 16, 32, 64, 128)
SETTINGS = {
    "as it is": {},
    "with texts": {"texts": str(FLICKR / "more_captions.txt"), "texts_weight": 1.0},
    "with texts and noise": {
        "texts": str(FLICKR / "more_captions.txt"),
        "texts_weight": 1.0,
        "embedding_noise": NOISE,
    },
}


def trained(folder: Path, name: str) -> dict[str, float]:
    """Trains one of the three."""
    from clipgpt_retrieval.training.train import train

    figures = train(
        flickr(),
        str(folder / name),
        backbone="scratch:tiny",
        tokenizer=str(GPT2_BPE),
        validation_fraction=FRACTION,
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        device="cpu",
        seed=SEED,
        **SETTINGS[name],
    )
    shown = f"caption loss {figures['caption_loss']:.3f}  R@10 {figures['R@10']:.3f}"
    print(f"\n== {name}: {shown}", flush=True)
    return figures


def compressed(learned: np.ndarray, held_out: np.ndarray, count: int) -> np.ndarray:
    """The held-out embeddings as a product quantiser of so many bytes gives them back."""
    import faiss

    quantiser = faiss.ProductQuantizer(learned.shape[1], count, 8)
    quantiser.verbose = False
    quantiser.train(learned)
    found = quantiser.decode(quantiser.compute_codes(held_out))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def scored(model: Path, embeddings: np.ndarray, captions: list[list[str]]) -> tuple[float, float]:
    """Caption loss and CIDEr-D of captions read from embeddings."""
    import torch
    from pycocoevalcap.cider.cider import Cider

    from clipgpt_retrieval.engine import load
    from clipgpt_retrieval.evaluation.caption_metrics import plain_words
    from clipgpt_retrieval.training.collate import Collator

    engine = load(str(model), device="cpu")
    collator = Collator(engine.sequences)
    rows = [(embedding, text) for embedding, of_one in zip(embeddings, captions, strict=True) for text in of_one]
    losses = []
    with torch.inference_mode():
        for start in range(0, len(rows), 64):
            losses.append(engine.model(caption=collator.caption_batch(rows[start : start + 64])).caption_loss.item())
    said = engine.caption(embeddings)
    references = {i: [plain_words(text) for text in of_one] for i, of_one in enumerate(captions)}
    cider, _ = Cider().compute_score(references, {i: [plain_words(text)] for i, text in enumerate(said)})
    return float(np.mean(losses)), float(cider)


def main() -> None:
    from clipgpt_retrieval.training.pairs import read_pairs, split_by_image

    if not FLICKR.is_dir():
        sys.exit(f"this benchmark reads {FLICKR}, which is not here")
    learned, held_out = split_by_image(read_pairs(flickr()), FRACTION, SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {which: trained(folder, which) for which in SETTINGS}
        print("\nbytes | without noise: caption loss, CIDEr-D | with noise")
        for count in (*PQ_BYTES, None):
            embeddings = held_out.embeddings
            if count is not None:
                embeddings = compressed(learned.embeddings, held_out.embeddings, count)
            cells = [
                scored(folder / which, embeddings, held_out.captions)
                for which in ("with texts", "with texts and noise")
            ]
            shown = " | ".join(f"{loss:.3f}, {cider:.3f}" for loss, cider in cells)
            print(f"{count or 'as it is'} | {shown}", flush=True)
    plain, texts = figures["as it is"], figures["with texts"]
    print(
        f"\ntexts change the caption loss by {texts['caption_loss'] - plain['caption_loss']:+.3f} "
        f"and R@10 by {texts['R@10'] - plain['R@10']:+.3f}"
    )


if __name__ == "__main__":
    main()
