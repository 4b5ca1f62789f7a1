"""``clipgpt-retrieval train``: from a folder of embeddings and captions to a clipgpt model."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase, set_seed

from clipgpt_retrieval.engine import ClipGpt, torch_device
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.model.checkpoint import save
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.storage import is_url
from clipgpt_retrieval.training.checkpoints import restore_best
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.display import TENSORBOARD
from clipgpt_retrieval.training.figures import validation_figures
from clipgpt_retrieval.training.fit import Rhythm, fit
from clipgpt_retrieval.training.frozen import train_frozen
from clipgpt_retrieval.training.gradients import Learner
from clipgpt_retrieval.training.image_space import fit_image_beta, set_image_mean
from clipgpt_retrieval.training.interleaved import Interleaved, read_interleaved
from clipgpt_retrieval.training.lora import add_adapters
from clipgpt_retrieval.training.network import new_model
from clipgpt_retrieval.training.pairs import Pairs, read_pairs, split_by_image
from clipgpt_retrieval.training.ranks import Ranks, join_ranks
from clipgpt_retrieval.training.recipes import Recipe
from clipgpt_retrieval.training.record import model_card, training_record
from clipgpt_retrieval.training.settings import Settings
from clipgpt_retrieval.training.shuffled import InMemory, Mixture, Shuffled
from clipgpt_retrieval.training.steps import Lessons, StepMaker
from clipgpt_retrieval.training.texts import TextFile

FIRST_BETA = 0.3
"""Where the image embedding lies along the query's direction while training; fitted at the end."""


@dataclass(frozen=True)
class Data:
    """What a run learns from and is measured on.

    Attributes:
        pairs: pictures to learn from.
        validation: pictures to measure on.
        interleaved: queries over the pictures to learn from, or None.
        validation_interleaved: queries over those to measure on, or None.
        fingerprint: of all pictures.
    """

    pairs: Pairs
    validation: Pairs
    interleaved: Interleaved | None
    validation_interleaved: Interleaved | None
    fingerprint: str

    def found(self) -> dict[str, Any]:
        """What it turned out to be, for the record."""
        return {
            "pictures": len(self.pairs) + len(self.validation),
            "validation_pictures": len(self.validation),
            "clip_dim": self.pairs.embeddings.shape[1],
            "fingerprint": self.fingerprint,
        }


def train(embeddings_folder: str, output_folder: str, **options: Any) -> dict[str, float]:
    """Fine-tunes a language model into a clipgpt model.

    A run that was interrupted, at whatever moment, goes on from its last checkpoint when it is started again with the
    same settings, and ends with the same weights.

    Args:
        embeddings_folder: see :class:`~clipgpt_retrieval.training.settings.Settings`.
        output_folder: so too.
        **options: its further settings.

    Returns:
        The validation figures of the finished model.

    Raises:
        InputError: a setting that cannot be.
        DataError: the folder cannot be learned from.
        ModelError: the backbone cannot be loaded.
        TrainingError: the run diverges, or its checkpoint cannot be read.
    """
    settings = Settings(embeddings_folder, output_folder, **options)
    settings.check()
    data = _read(settings)
    recipe = settings.chosen_recipe(len(data.pairs))
    ranks = join_ranks(settings.device)
    if ranks.first:
        print(f"{len(data.pairs)} pictures to learn from, {len(data.validation)} to measure on")
    set_seed(settings.seed)
    dim = data.pairs.embeddings.shape[1]
    network, words = new_model(recipe, dim, settings.backbone, settings.tokenizer, settings.clip_model)
    network.to(torch_device(settings.device))
    run_folder = _run_folder(settings, recipe, data.fingerprint)
    _learn(settings, recipe, network, words, data, run_folder, ranks)
    if not ranks.first:
        return {}
    if recipe.contrastive:
        _fit_beta(network, words, data.validation)
    collator = Collator(SequenceFormat(words, network.config), recipe.encode_text_loss)
    figures = validation_figures(network, collator, data.validation, data.validation_interleaved)
    documents = {
        "training.json": training_record(settings.record(recipe), data.found(), figures),
        "README.md": model_card(settings.record(recipe), data.found(), figures),
    }
    save(network.cpu(), words, output_folder, documents, [run_folder / TENSORBOARD])
    shutil.rmtree(run_folder)
    return figures


def _read(settings: Settings) -> Data:
    pairs = read_pairs(settings.embeddings_folder)
    to_learn, validation = split_by_image(pairs, settings.validation_fraction, settings.seed)
    return Data(to_learn, validation, *_read_both(settings.interleaved, to_learn, validation), pairs.fingerprint())


def _read_both(
    file: str | None, train_pairs: Pairs, validation: Pairs
) -> tuple[Interleaved | None, Interleaved | None]:
    """The interleaved queries to learn from and to measure on; one that has pictures on both sides is in neither."""
    if file is None:
        return None, None
    to_learn = read_interleaved(file, train_pairs)
    if not len(to_learn):
        raise DataError(f"{file}: no query is about pictures to learn from: its rows must be those of img_emb/")
    return to_learn, read_interleaved(file, validation)


def _learn(
    settings: Settings,
    recipe: Recipe,
    network: ClipGptModel,
    words: PreTrainedTokenizerBase,
    data: Data,
    run_folder: Path,
    ranks: Ranks,
) -> None:
    sequences = SequenceFormat(words, network.config)
    if recipe.contrastive:
        set_image_mean(network, data.pairs.embeddings, FIRST_BETA)
    if recipe.freeze_backbone:
        train_frozen(network, sequences, data.pairs, recipe, run_folder, settings.seed)
        return
    collator = Collator(sequences, recipe.encode_text_loss)
    pictures = Shuffled(InMemory(data.pairs, settings.embeddings_folder), settings.seed)
    texts = None if settings.texts is None else Shuffled(TextFile(settings.texts), settings.seed)
    lessons = Lessons(
        Mixture([pictures], [1.0], settings.seed),
        data.interleaved,
        settings.interleaved_weight,
        texts,
        settings.texts_weight,
    )
    maker = StepMaker(
        lessons,
        collator,
        recipe.tasks,
        recipe.batch_size,
        recipe.embedding_noise * _spread(data.pairs.embeddings),
        settings.micro_batch or recipe.batch_size * 2,
        settings.seed,
        ranks,
    )
    adapters = add_adapters(network, recipe.lora_rank) if recipe.lora_rank else None
    learner = Learner(network, recipe, ranks, settings.seed, settings.bf16)

    def measure() -> dict[str, float]:
        return validation_figures(network, collator, data.validation, data.validation_interleaved)

    rhythm = Rhythm(*settings.rhythm(recipe.steps), settings.wandb)
    progress = fit(learner, maker, measure, run_folder, rhythm, settings.record(recipe))
    if settings.keep == "best":
        print(f"the best weights are those after step {progress.best_step}")
        restore_best(run_folder, network)
    if adapters is not None:
        adapters.merge_and_unload()


def _spread(embeddings: np.ndarray) -> float:
    """The standard deviation of a number of an embedding around the mean embedding."""
    return float((embeddings - embeddings.mean(axis=0)).std())


def _run_folder(settings: Settings, recipe: Recipe, fingerprint: str) -> Path:
    """Where checkpoints lie until the model is done: beside it, and another for other settings or data."""
    decides = json.dumps([settings.record(recipe), fingerprint], sort_keys=True)
    key = hashlib.sha256(decides.encode()).hexdigest()[:8]
    if is_url(settings.output_folder):
        home = Path.home() / ".cache" / "clipgpt_retrieval" / "runs"
        name = hashlib.sha256(settings.output_folder.encode()).hexdigest()[:8]
        folder = home / f"{name}-{key}"
    else:
        target = Path(settings.output_folder)
        folder = target.parent / f".{target.name}.run-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@torch.inference_mode()
def _fit_beta(network: ClipGptModel, words: PreTrainedTokenizerBase, validation: Pairs) -> None:
    texts = [captions[0] for captions in validation.captions]
    queries = ClipGpt(network, words, device=str(network.device), dtype="float32").encode(texts)
    fit_image_beta(network, queries, validation.embeddings)
