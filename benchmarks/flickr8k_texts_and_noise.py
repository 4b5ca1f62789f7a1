"""The effect of ``--texts`` and ``--embedding_noise`` on captions, on 820 real Flickr8k embeddings, 164 held out.

Texts: trains a small GPT-2 from scratch, with a vocabulary of 4,000 tokens, on the 656 images, without and with 35,530
captions of other photographs as ``--texts``. Prints the caption loss over all held-out captions and R@10, and the
differences with 95 % confidence intervals over images.

Noise: trains the frozen recipe on SmolLM2-135M without and with its ``--embedding_noise``. Prints loss and CIDEr-D of
captions of held-out embeddings, exact and compressed to 8 to 128 bytes by faiss's product quantiser (trained on the
656). A model from scratch is not used for this: after so few steps its captions hardly depend on the image.

An interrupted run resumes from ``--folder``.

    python benchmarks/flickr8k_texts_and_noise.py --folder models texts      # about four minutes on two cores
    python benchmarks/flickr8k_texts_and_noise.py --folder models noise      # about eight
"""

import argparse
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
from _paths import FLICKR, flickr, smollm2

FRACTION, SEED = 0.2, 0
STEPS, BATCH, LEARNING_RATE = 300, 64, 1e-3
TEXTS = {"texts": str(FLICKR / "more_captions.txt"), "texts_weight": 1.0}
MODELS = {"plain": {}, "with texts": TEXTS}
NOISES = (0.0, 0.5)
SAVE_EVERY = 40
PQ_BYTES = (8, 16, 32, 64, 128)
DRAWS = 2000
VOCABULARY = 4000


def make_tokenizer(folder: Path) -> str:
    """Trains a byte-level BPE tokenizer; with GPT-2's own vocabulary the head would dominate the training time."""
    from tokenizers import ByteLevelBPETokenizer

    if not (folder / "merges.txt").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = ByteLevelBPETokenizer()
        tokenizer.train(TEXTS["texts"], vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"], show_progress=False)
        tokenizer.save_model(str(folder))
    return str(folder)


def train_one(folder: Path, name: str) -> None:
    """Trains one of the models, unless it exists."""
    from clipgpt_retrieval.training.train import train

    if (folder / name).is_dir():
        print(f"{folder / name} exists")
        return
    train(
        flickr(),
        str(folder / name),
        backbone="scratch:tiny",
        tokenizer=make_tokenizer(folder / "tokenizer"),
        validation_fraction=FRACTION,
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        eval_every=STEPS // 2,
        device="cpu",
        seed=SEED,
        **MODELS[name],
    )


def losses_of(engine, held_out) -> np.ndarray:
    """The mean loss of the tokens of each held-out image's captions, ``[n]``."""
    import torch

    from clipgpt_retrieval.data.sample import Sample
    from clipgpt_retrieval.training.collate import Collator

    collator = Collator(engine.sequences)
    with torch.inference_mode():
        batches = (
            collator.caption_batch([Sample(embedding, text, text) for text in texts])
            for embedding, texts in zip(held_out.embeddings, held_out.captions, strict=True)
        )
        return np.array([engine.model(caption=batch).caption_loss.item() for batch in batches])


def recall_at_10(engine, held_out) -> np.ndarray:
    """R@10 of each held-out image's captions, ``[n]``."""
    shares = []
    for image, texts in enumerate(held_out.captions):
        similarities = engine.encode(texts) @ held_out.embeddings.T  # [c, n]
        better = (similarities > similarities[:, [image]]).sum(axis=1)
        shares.append((better < 10).mean())
    return np.array(shares)


def compressed(training: np.ndarray, held_out: np.ndarray, num_bytes: int) -> np.ndarray:
    """The held-out embeddings after compression by a product quantiser."""
    import faiss

    quantiser = faiss.ProductQuantizer(training.shape[1], num_bytes, 8)
    quantiser.train(training)
    found = quantiser.decode(quantiser.compute_codes(held_out))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def difference(before: np.ndarray, after: np.ndarray) -> str:
    """Mean difference over images with its 95 % bootstrap interval."""
    gains = after - before
    drawn = np.random.default_rng(SEED).integers(len(gains), size=(DRAWS, len(gains)))
    low, high = np.quantile(gains[drawn].mean(axis=1), [0.025, 0.975])
    return f"{gains.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def texts(folder: Path) -> None:
    """Trains with and without texts, and compares."""
    from clipgpt_retrieval.data.embedding_folder import read_pairs
    from clipgpt_retrieval.data.split import split_by_image
    from clipgpt_retrieval.engine import load

    _, held_out = split_by_image(read_pairs(flickr()), FRACTION, SEED)
    losses, recalls = {}, {}
    for name in MODELS:
        train_one(folder, name)
        engine = load(str(folder / name), device="cpu")
        losses[name], recalls[name] = losses_of(engine, held_out), recall_at_10(engine, held_out)
        print(f"{name:10} caption loss {losses[name].mean():.3f}  R@10 {recalls[name].mean():.3f}", flush=True)
    print(f"caption loss {difference(*losses.values())}  R@10 {difference(*recalls.values())}")


def noise(folder: Path) -> None:
    """Trains the frozen recipe's fusion without and with noise, and captions compressed embeddings."""
    import torch

    from clipgpt_retrieval.engine import ClipGpt
    from clipgpt_retrieval.training.features import caption_states
    from clipgpt_retrieval.training.frozen.trainer import fit_around_frozen
    from clipgpt_retrieval.training.open_run import open_run
    from clipgpt_retrieval.training.options import TrainOptions
    from clipgpt_retrieval.training.trainer import fit

    options = {"recipe": "frozen", "validation_fraction": FRACTION, "save_every": SAVE_EVERY, "device": "cpu"}
    run, _ = open_run(TrainOptions(flickr(), "unwritten", backbone=smollm2(), **options))
    fusion, held_out = run.model.clip_fusion, run.data.validation
    start, trained = deepcopy(fusion.state_dict()), {}
    for level in NOISES:
        fusion.load_state_dict(start)
        of_level = replace(run, recipe=replace(run.recipe, embedding_noise=level))
        kept = folder / f"noise {level}"
        kept.mkdir(parents=True, exist_ok=True)
        fit(of_level, kept, *fit_around_frozen(of_level, folder / "frozen"))
        trained[level] = deepcopy(fusion.state_dict())
    states = caption_states(run.model, run.sequences, held_out, folder / "all_held_out_states")
    engine = ClipGpt(run.model, run.tokenizer, device="cpu", dtype="float32")
    print(f"\nbytes | cosine to the true one | caption loss and CIDEr-D at noise {NOISES} | gain in loss, in CIDEr-D")
    for num_bytes in (*PQ_BYTES, None):
        embeddings = held_out.embeddings
        if num_bytes is not None:
            embeddings = compressed(run.data.in_memory.embeddings, held_out.embeddings, num_bytes)
        losses, ciders = [], []
        for level in NOISES:
            fusion.load_state_dict(trained[level])
            losses.append(token_losses(run.model, states, torch.from_numpy(embeddings)))
            ciders.append(ciders_of(engine.caption(embeddings), held_out.captions))
        cosine = (embeddings * held_out.embeddings).sum(axis=1).mean()
        print(
            f"{num_bytes or 'all'} | {cosine:.3f} | "
            + ", ".join(f"{loss.mean():.3f} {cider.mean():.3f}" for loss, cider in zip(losses, ciders, strict=True))
            + f" | {difference(*losses)}, {difference(*ciders)}",
            flush=True,
        )


def token_losses(model, states, embeddings) -> np.ndarray:
    """The mean token loss of each image's captions, ``[n]``, from the backbone's hidden states."""
    import torch

    from clipgpt_retrieval.training.frozen.fusion import CaptionTokens

    tokens = CaptionTokens(states, embeddings)
    images = states.images.repeat_interleave(states.lengths)  # [t]
    losses = []
    with torch.inference_mode():
        for start in range(0, len(tokens), 512):
            part = tokens.tokens(range(start, min(start + 512, len(tokens))))
            logits = model.token_logits(model.clip_fusion(part.states.float(), part.embeddings))
            losses.append(torch.nn.functional.cross_entropy(logits, part.ids, reduction="none"))
    return (images.bincount(torch.cat(losses)) / images.bincount()).numpy()


def ciders_of(generated: list[str], captions: list[list[str]]) -> np.ndarray:
    """CIDEr-D of each caption, ``[n]``."""
    from pycocoevalcap.cider.cider import Cider

    from clipgpt_retrieval.metrics.captions import plain_tokens

    references = {i: [plain_tokens(text) for text in of_image] for i, of_image in enumerate(captions)}
    return Cider().compute_score(references, {i: [plain_tokens(text)] for i, text in enumerate(generated)})[1]


def main() -> None:
    parts = {"texts": texts, "noise": noise}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{' and '.join(parts)}; by default both")
    parser.add_argument("--folder", type=Path, required=True, help="keeps the models")
    options = parser.parse_args()
    for part in options.parts or parts:
        parts[part](options.folder)


if __name__ == "__main__":
    main()
