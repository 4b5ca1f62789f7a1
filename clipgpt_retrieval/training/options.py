"""What a run is started with."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.storage import is_url, local_path
from clipgpt_retrieval.training.recipes import Recipe, recipe_named

CHECKPOINTS = 5
"""How often a run is at least measured and saved on its way."""

SAVED_EVERY = 500
"""Steps of work that a killed run loses at most, unless it is told otherwise."""

CACHE_GB = 20.0
"""Room for some partitions of LAION's at a time, which are about 2 GB each."""

PLACES = ("output_folder", "device", "wandb", "cache_gb")
"""Options that change nothing of what is learned."""


@dataclass(frozen=True)
class TrainOptions:
    """The settings of a run, as ``clipgpt-retrieval train`` takes them.

    Attributes:
        embeddings_folder: what clip-retrieval inference wrote, see :mod:`~clipgpt_retrieval.data.embedding_folder`;
            several folders, or a brace pattern, are mixed.
        output_folder: directory or fsspec URL of the model to write; an earlier model there is replaced.
        recipe: its name, or a recipe of one's own.
        backbone: see :func:`~clipgpt_retrieval.training.backbone.load_backbone`, or a clipgpt model, see
            :func:`~clipgpt_retrieval.training.initial_model.trained_model`.
        tokenizer: where it is not the backbone's own.
        clip_model: the CLIP that made the embeddings, as all_clip names it.
        validation_fraction: share of the images that no step sees.
        steps: instead of the recipe's.
        batch_size: instead of the recipe's.
        learning_rate: instead of the recipe's.
        captions: COCO's captions or a split file of Karpathy's instead of the metadata's captions, joined by file name;
            the file's split then replaces ``validation_fraction``.
        caption_targets: column of the metadata with the captions to generate, one text or several, where the captions
            are only the queries; a row without any takes its captions.
        stream: read the folders a window at a time, so that memory does not grow with them.
        cache_gb: gigabytes of local disk that copies of a streamed remote folder's files may take; 0: none are made.
        weights: how much of a step comes of each folder; by default as much as it has of all images.
        interleaved: a JSONL file of interleaved queries over the folder's rows, see
            :mod:`~clipgpt_retrieval.data.interleaved`; they are learned beside the captions.
        interleaved_weight: how many of them in a step for each image of it.
        texts: a file of captions without images, a line each, from which the language is learned.
        texts_weight: how many of them in a step for each image of it.
        hard_negatives: nearest other images that each image's query is told from, beside the step's own.
        self_conditioning_prob: share of a step's captions that are generated from what the model predicts for them,
            instead of their images, so that reading back a query adds less that it does not contain.
        embedding_noise: instead of the recipe's, see :class:`~clipgpt_retrieval.training.recipes.Recipe`.
        micro_batch: the most sequences in memory at once; the loss is that of the whole batch.
        bf16: compute in bfloat16 under autocast where the device has it; the weights stay float32.
        compile: compile the backbone, which takes a minute or more at first.
        device: ``"auto"`` or a torch device.
        eval_every: steps between two measurements, instead of a fifth of the run.
        save_every: steps between two checkpoints, instead of a fifth of the run or 500.
        keep: ``"last"`` or ``"best"``: which weights become the model.
        wandb: a project of Weights & Biases to show the run in.
        seed: of the split, the new weights, the order, dropout and noise.
    """

    embeddings_folder: str | Sequence[str]
    output_folder: str
    recipe: str | Recipe = "default"
    backbone: str = "gpt2"
    tokenizer: str | None = None
    clip_model: str | None = "ViT-B/32"
    validation_fraction: float = 0.1
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    captions: str | None = None
    caption_targets: str | None = None
    stream: bool = False
    cache_gb: float = CACHE_GB
    weights: float | Sequence[float] | None = None
    interleaved: str | None = None
    interleaved_weight: float = 0.5
    texts: str | None = None
    texts_weight: float = 0.5
    hard_negatives: int = 0
    self_conditioning_prob: float = 0.0
    embedding_noise: float | None = None
    micro_batch: int | None = None
    bf16: bool = False
    compile: bool = False
    device: str = "auto"
    eval_every: int | None = None
    save_every: int | None = None
    keep: str = "last"
    wandb: str | None = None
    seed: int = 0

    def chosen_recipe(self, images: int | None = None) -> Recipe:
        """The recipe with the settings that stand in place of its own.

        Args:
            images: how many there are to learn from; makes steps of a recipe's epochs.

        Raises:
            InputError: there is no such recipe.
        """
        recipe = recipe_named(self.recipe) if isinstance(self.recipe, str) else self.recipe
        given = {name: getattr(self, name) for name in ("steps", "batch_size", "learning_rate", "embedding_noise")}
        recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
        if self.steps is not None or not recipe.epochs:
            return replace(recipe, epochs=0)
        return replace(recipe, steps=-(-recipe.epochs * (images or 1) // recipe.batch_size))

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            InputError: names the setting.
        """
        recipe = self.chosen_recipe()
        counts = {"steps": recipe.steps, "batch_size": recipe.batch_size}
        counts |= {name: getattr(self, name) for name in ("micro_batch", "eval_every", "save_every")}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise InputError(name, f"is {count}, it must be at least 1")
        for name, number in {
            "learning_rate": recipe.learning_rate,
            "interleaved_weight": self.interleaved_weight,
            "texts_weight": self.texts_weight,
        }.items():
            if number <= 0:
                raise InputError(name, f"is {number}, it must be above 0")
        if recipe.embedding_noise < 0:
            raise InputError("embedding_noise", f"is {recipe.embedding_noise}, it must be 0 or more")
        if self.cache_gb < 0:
            raise InputError("cache_gb", f"is {self.cache_gb}, it must be 0 or more")
        if self.hard_negatives < 0:
            raise InputError("hard_negatives", f"is {self.hard_negatives}, it must be 0 or more")
        if self.hard_negatives and (self.stream or recipe.freeze_backbone or not recipe.contrastive):
            raise InputError(
                "hard_negatives",
                "are looked up in memory for a recipe such as default: leave out --stream, or the flag",
            )
        if not 0 <= self.self_conditioning_prob <= 1:
            raise InputError("self_conditioning_prob", f"is {self.self_conditioning_prob}, it must be between 0 and 1")
        if self.self_conditioning_prob and (recipe.tasks != "both" or recipe.freeze_backbone):
            raise InputError(
                "self_conditioning_prob",
                f"is not for the recipe {recipe.name}, which does not encode what it captions: take the recipe default",
            )
        if self.caption_targets is not None and recipe.freeze_backbone:
            raise InputError(
                "caption_targets",
                f"is not for the recipe {recipe.name}, which captions by the captions that it keeps the states of",
            )
        if self.stream and recipe.freeze_backbone:
            raise InputError("stream", f"is not for the recipe {recipe.name}, which keeps the states of every caption")
        if self.texts is not None and recipe.freeze_backbone:
            raise InputError(
                "texts", f"are not learned by the recipe {recipe.name}, whose language model stays as it is"
            )
        if self.compile and recipe.freeze_backbone:
            raise InputError("compile", f"is not for the recipe {recipe.name}, whose backbone runs only once")
        if self.keep not in ("last", "best"):
            raise InputError("keep", f"is {self.keep!r}, it must be 'last' or 'best'")
        if self.interleaved is not None and (recipe.freeze_backbone or not recipe.contrastive):
            raise InputError("interleaved", f"is not learned by the recipe {recipe.name}: take the recipe default")

    @property
    def named_files(self) -> list[str]:
        """What is read beside the embeddings folders: files, directories and hub ids."""
        named = (self.captions, self.interleaved, self.texts, self.tokenizer, self.backbone)
        return [one for one in named if one is not None]

    def mixture(self, sizes: Sequence[int]) -> list[float]:
        """The weight of each folder.

        Args:
            sizes: images of each.

        Raises:
            InputError: there are more or fewer weights than folders, or one is not above 0.
        """
        if self.weights is None:
            return [float(size) for size in sizes]
        given = [self.weights] if isinstance(self.weights, int | float) else list(self.weights)
        if len(given) != len(sizes) or min(given) <= 0:
            raise InputError("weights", f"are {given}: give a number above 0 for each of the {len(sizes)} folders")
        return [float(weight) for weight in given]

    def intervals(self, steps: int) -> tuple[int, int]:
        """Steps between two measurements, and between two checkpoints, of a run of so many."""
        part = max(1, steps // CHECKPOINTS)
        return self.eval_every or part, self.save_every or min(part, SAVED_EVERY)

    def record(self, recipe: Recipe) -> dict[str, Any]:
        """What decides the result, as JSON has it, with the recipe as it was chosen."""
        shown = {name: value for name, value in vars(self).items() if name not in PLACES}
        captions = None if self.captions is None else absolute(self.captions)
        return {**shown, "captions": captions, "recipe": asdict(recipe)}


def absolute(path: str) -> str:
    """A path as it is found from any working directory; urls stay as they are."""
    return path if is_url(path) else str(local_path(path))
