"""``clipgpt-retrieval train``: from a folder of embeddings and captions to a clipgpt model."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from clipgpt_retrieval.engine import ClipGpt
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.model.checkpoint import save
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.storage import is_url
from clipgpt_retrieval.training.backbone import load_backbone
from clipgpt_retrieval.training.collate import Collator, PairDataset
from clipgpt_retrieval.training.frozen import train_frozen
from clipgpt_retrieval.training.image_space import fit_image_beta, set_image_mean
from clipgpt_retrieval.training.interleaved import Interleaved, read_interleaved
from clipgpt_retrieval.training.pairs import Pairs, read_pairs, split_by_image
from clipgpt_retrieval.training.recipes import Recipe, recipe_named
from clipgpt_retrieval.training.trainer import ClipGptTrainer, validation_figures

FIRST_BETA = 0.3
"""Where the image embedding lies along the query's direction while training; fitted at the end."""

FIGURES_BATCH = 64

CHECKPOINTS = 5
"""How often a run is measured and saved on its way."""


@dataclass(frozen=True)
class Lessons:
    """What a run learns from and is measured on.

    Attributes:
        pairs: pictures to learn from.
        validation: pictures to measure on.
        interleaved: queries over the pictures to learn from, or None.
        validation_interleaved: queries over those to measure on, or None.
        interleaved_weight: interleaved queries in a step for each picture of it.
    """

    pairs: Pairs
    validation: Pairs
    interleaved: Interleaved | None
    validation_interleaved: Interleaved | None
    interleaved_weight: float


def train(
    embeddings_folder: str,
    output_folder: str,
    *,
    recipe: str | Recipe = "default",
    backbone: str = "gpt2",
    tokenizer: str | None = None,
    clip_model: str | None = "ViT-B/32",
    validation_fraction: float = 0.1,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    interleaved: str | None = None,
    interleaved_weight: float = 0.5,
    bf16: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> dict[str, float]:
    """Fine-tunes a language model into a clipgpt model.

    A run that was interrupted goes on from its last checkpoint when it is started again with the same settings.

    Args:
        embeddings_folder: see :func:`~clipgpt_retrieval.training.pairs.read_pairs`.
        output_folder: directory or fsspec url of the model to write.
        recipe: its name, or a recipe of one's own.
        backbone: see :func:`~clipgpt_retrieval.training.backbone.load_backbone`.
        tokenizer: where it is not the backbone's own.
        clip_model: the CLIP that made the embeddings, as all_clip names it.
        validation_fraction: share of the pictures that no step sees.
        steps: instead of the recipe's.
        batch_size: instead of the recipe's.
        learning_rate: instead of the recipe's.
        interleaved: a JSONL file of interleaved queries over the folder's rows, see
            :mod:`~clipgpt_retrieval.training.interleaved`; they are learned beside the captions.
        interleaved_weight: how many of them in a step for each picture of it.
        bf16: compute in bfloat16 under autocast; the weights stay float32.
        device: ``"auto"`` or ``"cpu"``; Trainer finds the others by itself.
        seed: of the split, the new weights and the order.

    Returns:
        The validation figures of the finished model.

    Raises:
        InputError: a setting that cannot be.
        DataError: the folder cannot be learned from.
        ModelError: the backbone cannot be loaded.
    """
    chosen = recipe_named(recipe) if isinstance(recipe, str) else recipe
    given: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    chosen = replace(chosen, **{name: value for name, value in given.items() if value is not None})
    _check(chosen, interleaved, interleaved_weight)
    pairs = read_pairs(embeddings_folder)
    train_pairs, validation = split_by_image(pairs, validation_fraction, seed)
    print(f"{len(train_pairs)} pictures to learn from, {len(validation)} to measure on")
    lessons = Lessons(train_pairs, validation, *_read_both(interleaved, train_pairs, validation), interleaved_weight)
    set_seed(seed)
    network, words = new_model(chosen, pairs, backbone, tokenizer, clip_model)
    settings = {
        "embeddings_folder": embeddings_folder,
        "validation_fraction": validation_fraction,
        "interleaved": interleaved,
        "interleaved_weight": interleaved_weight,
        "recipe": asdict(chosen),
        "backbone": backbone,
        "tokenizer": tokenizer,
        "bf16": bf16,
        "seed": seed,
    }
    run_folder = _run_folder(output_folder, settings)
    figures = run(chosen, network, words, lessons, run_folder, device, seed, bf16)
    save(network, words, output_folder, {"training.json": _record(settings, clip_model, pairs, figures)})
    shutil.rmtree(run_folder)
    return figures


def new_model(
    recipe: Recipe, pairs: Pairs, backbone: str, tokenizer: str | None, clip_model: str | None
) -> tuple[ClipGptModel, PreTrainedTokenizerBase]:
    """A clipgpt model around a backbone, its layers in and out untrained."""
    clip_dim = pairs.embeddings.shape[1]
    narrow = recipe.clip_out == "identity"
    language_model, words = load_backbone(backbone, tokenizer, width=clip_dim if narrow else None)
    if narrow and language_model.config.hidden_size != clip_dim:
        raise InputError(
            "backbone",
            f"is {language_model.config.hidden_size} wide and the embeddings have {clip_dim} numbers: the recipe "
            f"{recipe.name} needs them equal, the recipe default does not",
        )
    config = ClipGptConfig(
        backbone_config=language_model.config.to_dict(),
        clip_dim=clip_dim,
        clip_model=clip_model,
        prefix_length=recipe.prefix_length,
        clip_in=recipe.clip_in,
        clip_out=recipe.clip_out,
        readout_layers=_layers(recipe, language_model),
        readout_pool=recipe.readout_pool,
        query_repeats=recipe.query_repeats,
        caption_from=recipe.caption_from,
        embedding_norm=recipe.embedding_norm,
    )
    return ClipGptModel(config, language_model), words


def run(
    recipe: Recipe,
    network: ClipGptModel,
    words: PreTrainedTokenizerBase,
    lessons: Lessons,
    run_folder: Path,
    device: str,
    seed: int,
    bf16: bool = False,
) -> dict[str, float]:
    """Trains ``network`` by ``recipe`` and returns its validation figures."""
    sequences = SequenceFormat(words, network.config)
    if recipe.contrastive:
        set_image_mean(network, lessons.pairs.embeddings, FIRST_BETA)
    collator = Collator(
        sequences, recipe.tasks, recipe.encode_text_loss, seed, lessons.interleaved, lessons.interleaved_weight
    )
    if recipe.freeze_backbone:
        train_frozen(network, sequences, lessons.pairs, recipe, run_folder, seed)
    else:
        _train_whole(recipe, network, collator, lessons, _arguments(recipe, run_folder, device, seed, bf16))
    if recipe.contrastive:
        _fit_beta(network, words, lessons.validation)
    return validation_figures(network, collator, lessons.validation, FIGURES_BATCH, lessons.validation_interleaved)


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


def _train_whole(
    recipe: Recipe, network: ClipGptModel, collator: Collator, lessons: Lessons, arguments: TrainingArguments
) -> None:
    trainer = ClipGptTrainer(
        recipe=recipe,
        validation_interleaved=lessons.validation_interleaved,
        model=network,
        args=arguments,
        train_dataset=PairDataset(lessons.pairs, arguments.seed),
        eval_dataset=PairDataset(lessons.validation, arguments.seed),
        data_collator=collator,
    )
    last = get_last_checkpoint(arguments.output_dir)
    if last:
        print(f"the run goes on after step {last.rsplit('-', 1)[1]}")
    with _attention_for_short_texts(network):
        trainer.train(resume_from_checkpoint=last)


@contextmanager
def _attention_for_short_texts(network: ClipGptModel) -> Iterator[None]:
    """Attention written out, on a CPU: of some thirty tokens the fused kernel takes several times as long."""
    config = network.backbone.config
    usual = config._attn_implementation
    if network.device.type == "cpu" and usual == "sdpa":
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = usual


def _check(recipe: Recipe, interleaved: str | None, interleaved_weight: float) -> None:
    for field in ("steps", "batch_size"):
        if getattr(recipe, field) < 1:
            raise InputError(field, f"is {getattr(recipe, field)}, it must be at least 1")
    if recipe.learning_rate <= 0:
        raise InputError("learning_rate", f"is {recipe.learning_rate}, it must be above 0")
    if interleaved is not None and (recipe.freeze_backbone or not recipe.contrastive):
        raise InputError("interleaved", f"is not learned by the recipe {recipe.name}: take the recipe default")
    if interleaved_weight <= 0:
        raise InputError("interleaved_weight", f"is {interleaved_weight}, it must be above 0")


def _layers(recipe: Recipe, language_model: PreTrainedModel) -> list[int]:
    """The recipe's fractions of the depth as hidden states' numbers; the last layer is -1."""
    depth = language_model.config.num_hidden_layers
    numbers = sorted({round(fraction * depth) for fraction in recipe.readout_layers})
    return [-1 if number == depth else number for number in numbers]


def _run_folder(output_folder: str, settings: dict[str, Any]) -> Path:
    """Where checkpoints lie until the model is done: beside it, and another for each choice of settings."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    if is_url(output_folder):
        home = Path.home() / ".cache" / "clipgpt_retrieval" / "runs"
        name = hashlib.sha256(output_folder.encode()).hexdigest()[:8]
        folder = home / f"{name}-{key}"
    else:
        target = Path(output_folder)
        folder = target.parent / f".{target.name}.run-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _arguments(recipe: Recipe, run_folder: Path, device: str, seed: int, bf16: bool) -> TrainingArguments:
    every = max(1, recipe.steps // CHECKPOINTS)
    return TrainingArguments(
        output_dir=str(run_folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=FIGURES_BATCH,
        learning_rate=recipe.learning_rate,
        warmup_steps=min(recipe.warmup_steps, recipe.steps // 5),
        lr_scheduler_type=recipe.schedule,
        weight_decay=recipe.weight_decay,
        max_grad_norm=1.0,
        eval_strategy="steps",
        eval_steps=every,
        logging_steps=max(1, every // 4),
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        report_to="none",
        bf16=bf16,
        use_cpu=device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available()),
        seed=seed,
    )


def _fit_beta(network: ClipGptModel, words: PreTrainedTokenizerBase, validation: Pairs) -> None:
    texts = [captions[0] for captions in validation.captions]
    queries = ClipGpt(network, words, device=str(network.device), dtype="float32").encode(texts)
    fit_image_beta(network, queries, validation.embeddings)


def _record(settings: dict[str, Any], clip_model: str | None, pairs: Pairs, figures: dict[str, float]) -> str:
    libraries = ("clipgpt-retrieval", "torch", "transformers")
    record = {
        **settings,
        "pictures": len(pairs),
        "fingerprint": pairs.fingerprint(),
        "clip_model": clip_model,
        "validation": figures,
        "versions": {library: version(library) for library in libraries},
    }
    return json.dumps(record, indent=2)
