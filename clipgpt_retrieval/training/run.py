"""All that the trainers of a run share."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat
from clipgpt_retrieval.training.bfloat16 import has_bfloat16
from clipgpt_retrieval.training.collate import Collator
from clipgpt_retrieval.training.data import Datasets
from clipgpt_retrieval.training.distributed import Distributed
from clipgpt_retrieval.training.options import TrainOptions
from clipgpt_retrieval.training.recipes import Recipe
from clipgpt_retrieval.training.validation import validation_metrics


@dataclass(frozen=True)
class Run:
    """All that the trainers of a run share.

    Attributes:
        options: as given.
        recipe: the chosen one, with the options that replace its own.
        data: training and validation set.
        model: the model to train.
        tokenizer: of the model.
        distributed: the processes that train together.
    """

    options: TrainOptions
    recipe: Recipe
    data: Datasets
    model: ClipGptModel
    tokenizer: PreTrainedTokenizerBase
    distributed: Distributed

    @property
    def sequences(self) -> SequenceFormat:
        """The model's sequence format."""
        return SequenceFormat(self.tokenizer, self.model.config)

    @property
    def collator(self) -> Collator:
        """Pads and labels the batches."""
        return Collator(self.sequences, self.recipe.encode_text_loss, self.model.context_length)

    @property
    def bf16(self) -> bool:
        """Whether to compute in bfloat16: it is requested, and the device supports it."""
        return self.options.bf16 and has_bfloat16(self.model.device)

    def truncation_note(self) -> str | None:
        """A sentence on how many of the captions in memory exceed the backbone's context, or None."""
        collator, sets = self.collator, (self.data.in_memory, self.data.validation)
        per_image = [pairs.captions for pairs in sets]
        if self.options.caption_targets is not None:
            per_image += [pairs.target_captions for pairs in sets]
        captions = [caption for of_images in per_image for several in of_images for caption in several]
        cut = sum(map(collator.is_cut, captions))
        if not cut:
            return None
        of = "the first " if self.data.streamed else ""
        return f"{cut} of {of}{len(captions)} captions are truncated to the context of {collator.context_length} tokens"

    def validation_metrics(self) -> dict[str, float]:
        """The validation metrics of the model with its current weights."""
        data = self.data
        return validation_metrics(
            self.model, self.collator, data.validation, data.validation_interleaved, data.validation_answered
        )
