"""The options of a training run, which are the flags of ``clipgpt-retrieval train``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import option
from clipgpt_retrieval.storage import is_url, local_path
from clipgpt_retrieval.training.recipes import Recipe, recipe_named

CHECKPOINTS = 5
"""Minimum number of evaluations and checkpoints of a run."""

MAX_SAVE_EVERY = 500
"""Steps between two checkpoints by default, at most."""

NOT_RECORDED = ("output_folder", "device", "wandb", "cache_gb")
"""Options that do not change the trained weights."""

POSITIVE_COUNTS = ("steps", "batch_size", "micro_batch", "eval_every", "save_every")
POSITIVE = ("learning_rate", "interleaved_weight", "texts_weight")
NOT_NEGATIVE = ("embedding_noise", "cache_gb", "hard_negatives")


@dataclass(frozen=True)
class Intervals:
    """Steps between two evaluations, and between two checkpoints."""

    eval_every: int
    save_every: int


@dataclass(frozen=True)
class TrainOptions:
    """The options of a training run.

    ``recipe`` may be a :class:`~clipgpt_retrieval.training.recipes.Recipe` of your own instead of a name.
    """

    embeddings_folder: str | Sequence[str] = option(
        "",
        "output folder of clip-retrieval inference: img_emb/ and metadata/ with captions; several, separated by "
        "commas, or a brace pattern such as part_{00..15}.",
    )
    output_folder: str = option(
        "", "directory or fsspec URL of the model to write; an interrupted run resumes from its last checkpoint."
    )
    recipe: str | Recipe = option(  # noqa: RUF009 (it is dataclasses.field)
        "default", "default, frozen (needs no GPU), lora, general-gpt or clipcap; --recipes describes them."
    )
    backbone: str = option(
        "gpt2",
        "hub id, directory, fsspec URL, .gguf file, scratch:tiny or scratch:small; or a clipgpt model, to train it "
        "further.",
    )
    tokenizer: str | None = option(None, "directory, hub id or fsspec URL; required by scratch backbones.")
    clip_model: str | None = option("ViT-B/32", "the CLIP of the embeddings, as clip-retrieval inference names it.")
    validation_fraction: float = option(0.1, "share of the images in the validation set.")
    steps: int | None = option(None, "optimizer steps, instead of the recipe's.")
    batch_size: int | None = option(None, "images per step, instead of the recipe's.")
    learning_rate: float | None = option(None, "peak learning rate, instead of the recipe's.")
    captions: str | None = option(
        None,
        "COCO's captions_train2017.json or one of Karpathy's split files, joined to the folder by file name; a split "
        "file's split replaces validation_fraction.",
    )
    caption_targets: str | None = option(
        None,
        "column of the metadata with the captions to generate, such as synthetic captions, where the folder's captions "
        "(alt texts, for example) are only the queries; a row without any takes its captions.",
    )
    stream: bool = option(False, "read a window of rows at a time, for collections larger than memory.")
    cache_gb: float = option(
        20.0, "gigabytes of local disk for copies of a streamed remote folder's files; 0: no copies."
    )
    weights: float | Sequence[float] | None = option(
        None, "sampling weight of each folder, such as 3,1; by default its number of images."
    )
    interleaved: str | None = option(
        None,
        "JSONL file of interleaved queries over rows of the folder, with an image or a text as target; "
        "docs/training.md shows both.",
    )
    interleaved_weight: float = option(0.5, "interleaved queries per image of a step.")
    texts: str | None = option(None, "text file of captions without images, one per line, for the language model.")
    texts_weight: float = option(0.5, "captions of --texts per image of a step.")
    hard_negatives: int = option(0, "nearest other images that serve as further negatives of each image's query.")
    self_conditioning_prob: float = option(
        0.0,
        "share of the captions that are generated from the model's own predictions instead of their images, so that "
        "reading back a query adds less that it does not contain.",
    )
    embedding_noise: float | None = option(
        None,
        "noise on the embeddings to caption, as a share of their standard deviation, for captions from a compressed "
        "index; instead of the recipe's.",
    )
    micro_batch: int | None = option(
        None, "maximum number of sequences in memory at once; the loss stays that of the whole batch."
    )
    bf16: bool = option(
        False,
        "compute in bfloat16 under autocast, faster on most GPUs and recent CPUs; devices without it use float32.",
    )
    compile: bool = option(
        False, "compile the backbone with torch.compile, which takes a minute or more; needs a C++ compiler."
    )
    device: str = option("auto", "auto, cpu, cuda or mps.")
    eval_every: int | None = option(None, "steps between two evaluations; by default a fifth of the run.")
    save_every: int | None = option(None, "steps between two checkpoints; by default a fifth of the run, at most 500.")
    keep: str = option("last", "last or best: which weights become the model.")
    wandb: str | None = option(None, "project of Weights & Biases to log to, beside TensorBoard.")
    seed: int = option(0, "random seed of the split, the new weights, the order, dropout and noise.")

    def chosen_recipe(self, images: int | None = None) -> Recipe:
        """The recipe with the options that replace its own.

        Args:
            images: size of the training set, which turns a recipe's epochs into steps.

        Raises:
            InputError: there is no such recipe.
        """
        recipe = recipe_named(self.recipe) if isinstance(self.recipe, str) else self.recipe
        given = {name: getattr(self, name) for name in ("steps", "batch_size", "learning_rate", "embedding_noise")}
        recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
        if self.steps is not None or not recipe.epochs:
            return replace(recipe, epochs=0)
        return replace(recipe, steps=-(-recipe.epochs * (images or 1) // recipe.batch_size))

    def check(self, unsupported: Mapping[str, str]) -> None:
        """Validates the options.

        Args:
            unsupported: options that the recipe's trainer does not take, with the reason.

        Raises:
            InputError: names the option.
        """
        recipe = self.chosen_recipe()
        self._check_values(recipe)
        for flag in fields(self):
            if flag.name in unsupported and getattr(self, flag.name) != flag.default:
                raise InputError(flag.name, f"is not supported by the recipe {recipe.name}: {unsupported[flag.name]}")
        self._check_recipe(recipe)

    def _check_values(self, recipe: Recipe) -> None:
        for name in ("embeddings_folder", "output_folder"):
            if not getattr(self, name):
                raise InputError(name, "is missing: clipgpt-retrieval train EMBEDDINGS_FOLDER OUTPUT_FOLDER")
        given = {**vars(self), **{name: value for name, value in vars(recipe).items() if hasattr(self, name)}}
        for names, minimum, valid in (
            (POSITIVE_COUNTS, "at least 1", lambda value: value >= 1),
            (POSITIVE, "above 0", lambda value: value > 0),
            (NOT_NEGATIVE, "0 or more", lambda value: value >= 0),
            (("self_conditioning_prob",), "between 0 and 1", lambda value: 0 <= value <= 1),
            (("keep",), "'last' or 'best'", lambda value: value in ("last", "best")),
        ):
            for name in names:
                if given[name] is not None and not valid(given[name]):
                    raise InputError(name, f"is {given[name]!r}, must be {minimum}")

    def _check_recipe(self, recipe: Recipe) -> None:
        if self.hard_negatives and (self.stream or not recipe.contrastive):
            raise InputError("hard_negatives", "need a contrastive recipe such as default, and no --stream")
        if self.self_conditioning_prob and recipe.tasks != "both":
            raise InputError(
                "self_conditioning_prob",
                f"needs a recipe that encodes each caption, such as default: {recipe.name} does not",
            )
        if self.interleaved is not None and not recipe.contrastive:
            raise InputError("interleaved", f"needs a contrastive recipe such as default: {recipe.name} is not")

    @property
    def named_files(self) -> list[str]:
        """Inputs beside the embeddings folders: files, directories and hub ids."""
        named = (self.captions, self.interleaved, self.texts, self.tokenizer, self.backbone)
        return [one for one in named if one is not None]

    def mixture(self, sizes: Sequence[int]) -> list[float]:
        """The sampling weight of each folder.

        Args:
            sizes: images of each.

        Raises:
            InputError: the number of weights is not that of the folders, or one is not above 0.
        """
        if self.weights is None:
            return [float(size) for size in sizes]
        given = [self.weights] if isinstance(self.weights, int | float) else list(self.weights)
        if len(given) != len(sizes) or min(given) <= 0:
            raise InputError("weights", f"are {given}: give a number above 0 for each of the {len(sizes)} folders")
        return [float(weight) for weight in given]

    def intervals(self, steps: int) -> Intervals:
        """When a run of ``steps`` steps is evaluated and saved."""
        part = max(1, steps // CHECKPOINTS)
        return Intervals(self.eval_every or part, self.save_every or min(part, MAX_SAVE_EVERY))

    def record(self, recipe: Recipe) -> dict[str, Any]:
        """The options that decide the result, JSON-serialisable, with the chosen recipe."""
        shown = {name: value for name, value in vars(self).items() if name not in NOT_RECORDED}
        captions = None if self.captions is None else absolute(self.captions)
        return {**shown, "captions": captions, "recipe": asdict(recipe)}


def absolute(path: str) -> str:
    """The absolute path; URLs stay as they are."""
    return path if is_url(path) else str(local_path(path))
