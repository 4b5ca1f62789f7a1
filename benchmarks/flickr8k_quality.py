"""Search on real photographs: CLIP's text tower, CLIP-GPT and both, over five splits.

Of the 1,000 photographs of flickr8k-clip-b32-val, whose first captions have text embeddings of the real CLIP, 500 are
held out at random; the recipe `frozen` on SmolLM2-135M is trained on the other 500 and on the 984 of
flickr8k-clip-b32 and flickr8k-clip-b32-extra, a tenth of them for validation. The first captions of the held-out
images are the queries. Prints means over the splits with standard errors: R@1 and R@10 among the held-out images and
among all 1,984, the same of the training images' other captions by CLIP-GPT, and of a model trained on 50 images. The
backbone reads the captions once for all splits: its states are cached, given a folder.

    python benchmarks/flickr8k_quality.py [FOLDER]     # 11 minutes after the states, on two cores under other load
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from _paths import SHARED, smollm2

from clipgpt_retrieval.data.pairs import Pairs, concatenate
from clipgpt_retrieval.data.text_embeddings import TextEmbeddings, joined, read_text_embeddings
from clipgpt_retrieval.metrics.hub_correction import hub_penalty
from clipgpt_retrieval.metrics.retrieval import ranks_from_similarities, scores
from clipgpt_retrieval.metrics.search_choice import CLIPGPT, TOWER, Queries, Settings

if TYPE_CHECKING:
    from clipgpt_retrieval.model.module import ClipGptModel
    from clipgpt_retrieval.training.features import CaptionStates

FOLDERS = [SHARED / f"flickr8k-clip-b32{name}" for name in ("", "-extra", "-val")]
HELD_OUT, SPLITS, SMALL = 500, 5, 50
VALIDATION_FRACTION = 0.1
METRICS = ("R@1", "R@10")


@dataclass(frozen=True)
class Flickr:
    """All photographs, and the backbone's states of all captions."""

    pairs: Pairs
    texts: TextEmbeddings
    model: "ClipGptModel"
    states: "CaptionStates"

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Training images, and held-out images among those with text embeddings."""
        with_texts = np.unique(self.images[self.texts.captions])
        held_out = np.random.default_rng(seed).permutation(with_texts)[:HELD_OUT]
        return np.setdiff1d(np.arange(len(self.pairs)), held_out), np.sort(held_out)

    @property
    def images(self) -> np.ndarray:
        """The image of each caption."""
        return self.states.images.numpy()

    def captions_of(self, images: np.ndarray, first_only: bool = False) -> np.ndarray:
        """Positions of captions, image by image."""
        starts = np.searchsorted(self.images, images)
        ends = starts + 1 if first_only else np.searchsorted(self.images, images, side="right")
        return np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])

    def states_of(self, captions: np.ndarray, images: np.ndarray) -> "CaptionStates":
        """The states of captions, with images renumbered by their position in ``images``."""
        renumbered = torch.from_numpy(np.searchsorted(images, self.images[captions]))
        return replace(self.states, images=renumbered, readout=self.states.readout[captions])

    def texts_of(self, captions: np.ndarray) -> TextEmbeddings:
        """The text embeddings of captions that have one, renumbered."""
        _, rows, positions = np.intersect1d(self.texts.captions, captions, return_indices=True)
        return TextEmbeddings(positions, self.texts.embeddings[rows])


def read(cache: Path) -> Flickr:
    """The data and the backbone's states."""
    from clipgpt_retrieval.data.embedding_folder import read_pairs
    from clipgpt_retrieval.model.sequence import SequenceFormat
    from clipgpt_retrieval.training.features import caption_states
    from clipgpt_retrieval.training.initial_model import new_model
    from clipgpt_retrieval.training.recipes import recipe_named

    if missing := [folder for folder in FOLDERS if not folder.is_dir()]:
        sys.exit(f"this benchmark reads {missing[0]}, which does not exist")
    parts = [read_pairs(str(folder)) for folder in FOLDERS]
    texts = joined([(pairs, read_text_embeddings(str(f), pairs)) for f, pairs in zip(FOLDERS, parts, strict=True)])
    assert texts is not None
    pairs = concatenate(parts)
    model, tokenizer = new_model(recipe_named("frozen"), pairs.embeddings.shape[1], smollm2(), None, "ViT-B/32")
    states = caption_states(model, SequenceFormat(tokenizer, model.config), pairs, cache)
    nothing = torch.empty(0)
    return Flickr(pairs, texts, model, replace(states, states=nothing, ids=nothing, lengths=nothing))


def fit(flickr: Flickr, images: np.ndarray, seed: int) -> tuple[Callable[[np.ndarray], np.ndarray], Settings, Queries]:
    """Trains on images as ``train --recipe frozen`` does; returns CLIP-GPT's queries, the settings and the bank."""
    from clipgpt_retrieval.training.frozen.readout import Captions, fit_readout_to_unseen, readout_queries
    from clipgpt_retrieval.training.frozen.search import CaptionQueries, fit_search

    order = np.random.default_rng(seed).permutation(images)
    unseen, seen = (np.sort(part) for part in np.split(order, [round(len(order) * VALIDATION_FRACTION)]))
    seen_captions, first = flickr.captions_of(seen), flickr.captions_of(unseen, first_only=True)
    model, pairs, held_out = flickr.model, flickr.pairs.subset(seen), flickr.pairs.subset(unseen)
    held_out = replace(held_out, captions=[captions[:1] for captions in held_out.captions])
    model.image_mean.copy_(torch.from_numpy(pairs.embeddings).mean(0))
    training = Captions(flickr.states_of(seen_captions, seen), torch.from_numpy(pairs.embeddings))
    validation = Captions(flickr.states_of(first, unseen), torch.from_numpy(held_out.embeddings))
    left_out = fit_readout_to_unseen(model, training, validation, seed)
    fit_search(
        model,
        CaptionQueries(pairs, left_out.captions.numpy(), left_out.queries.numpy()),
        CaptionQueries(held_out, np.arange(len(held_out)), readout_queries(model, validation.states)),
        (flickr.texts_of(seen_captions), flickr.texts_of(first)),
        seed,
    )
    settings = Settings(model.config.clipgpt_weight, model.config.hub_strength, model.search.text_mean)
    bank = Queries(np.empty((0, 512)) if model.search.query_bank is None else model.search.query_bank, None)
    return lambda captions: readout_queries(model, flickr.states_of(captions, images)), settings, bank


def measure(flickr: Flickr, training: np.ndarray, test: np.ndarray, seed: int) -> dict[str, list[float]]:
    """R@1 and R@10 of every part, among the held-out images and among all."""
    queries_of, settings, bank = fit(flickr, training, seed)
    first = flickr.captions_of(test, first_only=True)
    queries = Queries(queries_of(first), flickr.texts_of(first).embeddings)
    other = np.setdiff1d(flickr.captions_of(training), flickr.captions_of(training, first_only=True))[::4]
    own = Queries(queries_of(other), None)
    corrected = replace(CLIPGPT, strength=settings.strength)
    rows = {}
    for name, part in {
        "tower": TOWER,
        "tower, corrected": replace(TOWER, strength=settings.strength, text_mean=settings.text_mean),
        "GPT": CLIPGPT,
        "GPT, corrected": corrected,
        "both": replace(settings, strength=0.0),
        "both, corrected": settings,
    }.items():
        found = recalls(queries.blended(part), flickr.pairs.embeddings, test, bank, part.strength, among=test)
        rows[name] = found + recalls(queries.blended(part), flickr.pairs.embeddings, test, bank, part.strength)
    for name, part in {"own captions, GPT": CLIPGPT, "own captions, GPT, corrected": corrected}.items():
        of_own = recalls(own.predicted, flickr.pairs.embeddings, flickr.images[other], bank, part.strength)
        rows[name] = [float("nan")] * len(METRICS) + of_own
    return rows


def recalls(
    queries: np.ndarray,
    gallery: np.ndarray,
    truth: np.ndarray,
    bank: Queries,
    strength: float,
    among: np.ndarray | None = None,
) -> list[float]:
    """R@1 and R@10 of queries for the rows ``truth`` of a gallery, or of some of its rows."""
    if among is not None:
        gallery, truth = gallery[among], np.searchsorted(among, truth)
    similarities = queries @ gallery.T - hub_penalty(gallery, bank.predicted, strength)
    by_name = scores(ranks_from_similarities(similarities, truth))
    return [float(by_name[name].mean()) for name in METRICS]


def show(title: str, splits: list[dict[str, list[float]]]) -> None:
    """Prints the mean of each row over the splits, with its standard error."""
    print(f"\n== {title}\n{'':30}{'R@1':>14}{'R@10':>14}{'R@1, all':>14}{'R@10, all':>14}")
    by_row = defaultdict(list)
    for split in splits:
        for name, values in split.items():
            by_row[name].append(values)
    for name, values in by_row.items():
        mean, error = np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / len(values) ** 0.5
        print(f"{name:30}" + "".join(f"{m:8.3f} ±{e:.3f}" for m, e in zip(mean, error, strict=True)), flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        flickr = read(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
        started, large, small = time.monotonic(), [], []
        for seed in range(SPLITS):
            training, test = flickr.split(seed)
            large.append(measure(flickr, training, test, seed))
            few = np.sort(np.random.default_rng(seed).choice(training, SMALL, replace=False))
            small.append(measure(flickr, few, test, seed))
            print(f"split {seed}", {name: np.round(row, 3).tolist() for name, row in large[-1].items()}, flush=True)
        show(f"trained on {len(training)} images, {len(test)} held out", large)
        show(f"trained on {SMALL} images", small)
        print(f"\n{(time.monotonic() - started) / 60:.1f} minutes after the backbone's states")


if __name__ == "__main__":
    main()
