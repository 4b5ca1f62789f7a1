"""A run before its first step: the data, the model that it begins with, and what makes its steps."""

from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase, set_seed

from clipgpt_retrieval.data.hard_negatives import HardNegatives
from clipgpt_retrieval.data.samplers import MixtureSampler, ShuffledSampler
from clipgpt_retrieval.data.text_file import TextFile
from clipgpt_retrieval.engine import torch_device
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.storage import check_new_folder
from clipgpt_retrieval.training.batches import BatchBuilder, TrainingData
from clipgpt_retrieval.training.bfloat16 import has_bfloat16
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.data import Datasets, folders_of, read_data
from clipgpt_retrieval.training.distributed import Distributed, init_distributed
from clipgpt_retrieval.training.image_space import set_image_mean
from clipgpt_retrieval.training.initial_model import is_clipgpt, new_model, only_captions, trained_model
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.recipes import Recipe
from clipgpt_retrieval.training.train_step import TrainStep
from clipgpt_retrieval.training.validation import validation_metrics

FIRST_BETA = 0.3
"""Where the image embedding lies along the query's direction while training; fitted at the end."""

LENGTH_BUCKETING = 64
"""Sequences of like length that go through the model together on a CPU."""


@dataclass(frozen=True)
class Run:
    """All that a run is made of.

    Attributes:
        settings: what it was started with.
        recipe: the chosen one, with the settings in place of its own.
        data: what it learns from and is measured on.
        model: the model that it begins with, and ends with.
        tokenizer: its tokenizer.
        distributed: the processes that train together.
    """

    settings: TrainOptions
    recipe: Recipe
    data: Datasets
    model: ClipGptModel
    tokenizer: PreTrainedTokenizerBase
    distributed: Distributed

    @property
    def sequences(self) -> SequenceFormat:
        """The model's format."""
        return SequenceFormat(self.tokenizer, self.model.config)

    @property
    def collator(self) -> Collator:
        """Makes its batches."""
        return Collator(self.sequences, self.recipe.encode_text_loss, self.model.context_length)

    @property
    def bf16(self) -> bool:
        """Whether it computes in bfloat16: it is asked to, and the device has it."""
        return self.settings.bf16 and has_bfloat16(self.model.device)

    def too_long(self) -> str | None:
        """How many of the captions that lie in memory are cut to the backbone's context, in a sentence, or None."""
        collator, both = self.collator, (self.data.in_memory, self.data.validation)
        per_image = [texts for pairs in both for texts in zip(pairs.captions, pairs.target_captions, strict=True)]
        captions = [text for queries, targets in per_image for text in dict.fromkeys([*queries, *targets])]
        cut = sum(map(collator.is_cut, captions))
        if not cut:
            return None
        of = "the first " if self.data.streamed else ""
        return f"{cut} of {of}{len(captions)} captions are cut to the {collator.context_length} tokens of the context"

    def batch_builder(self) -> BatchBuilder:
        """What makes its steps, from the first on.

        Raises:
            InputError: weights that do not fit the folders.
            DataError: the texts cannot be read.
        """
        settings, recipe, data = self.settings, self.recipe, self.data
        parts = [ShuffledSampler(part, settings.seed) for part in data.parts]
        texts = None if settings.texts is None else ShuffledSampler(TextFile(settings.texts), settings.seed)
        micro_batch, hard = settings.micro_batch or recipe.batch_size * 2, settings.hard_negatives
        return BatchBuilder(
            data=TrainingData(
                images=MixtureSampler(parts, settings.mixture(data.sizes), settings.seed),
                interleaved=data.interleaved,
                answered=data.answered,
                interleaved_weight=settings.interleaved_weight,
                texts=texts,
                texts_weight=settings.texts_weight,
                neighbours=HardNegatives(data.in_memory.embeddings, hard) if hard else None,
            ),
            collator=self.collator,
            tasks=recipe.tasks,
            batch_size=recipe.batch_size,
            noise=recipe.embedding_noise * data.spread,
            micro_batch=micro_batch,
            # A CPU gains by every token of padding less; a GPU would be busy with starting small products.
            length_bucketing=LENGTH_BUCKETING if self.model.device.type == "cpu" else micro_batch,
            seed=settings.seed,
            distributed=self.distributed,
            self_conditioning_prob=settings.self_conditioning_prob,
        )

    def train_step(self) -> TrainStep:
        """What gives its gradients."""
        return TrainStep(self.model, self.recipe, self.distributed, self.settings.seed, self.bf16)

    def metrics(self) -> dict[str, float]:
        """The validation metrics of the model as it stands."""
        data = self.data
        return validation_metrics(
            self.model, self.collator, data.validation, data.validation_interleaved, data.validation_answered
        )


def open_run(settings: TrainOptions) -> Run:
    """Reads the data and makes the model.

    Raises:
        InputError: a setting that cannot be.
        DataError: the data cannot be learned from.
        ModelError: the backbone cannot be loaded.
    """
    settings.check()
    inputs = [*folders_of(settings.embeddings_folder), *settings.named_files]
    check_new_folder("output_folder", settings.output_folder, "config.json", inputs)
    data = read_data(settings)
    recipe = settings.chosen_recipe(data.images)
    distributed = init_distributed(settings.device)
    set_seed(settings.seed)
    if is_clipgpt(settings.backbone):
        model, tokenizer = trained_model(recipe, data.clip_dim, settings.backbone, settings.clip_model)
        start = recipe.ridge_start and only_captions(settings.backbone)
        recipe = replace(recipe, ridge_start=start, embedding_norm=model.config.embedding_norm)
    else:
        model, tokenizer = new_model(recipe, data.clip_dim, settings.backbone, settings.tokenizer, settings.clip_model)
    model.to(torch_device(settings.device))
    if recipe.contrastive:
        set_image_mean(model, data.in_memory.embeddings, FIRST_BETA)
    return Run(settings, recipe, data, model, tokenizer, distributed)
