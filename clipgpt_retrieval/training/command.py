"""The command ``clipgpt-retrieval train``."""

from dataclasses import dataclass, fields
from typing import Any

from clipgpt_retrieval.options import option, takes_options
from clipgpt_retrieval.training.options import TrainOptions


@dataclass(frozen=True)
class TrainFlags(TrainOptions):
    """The flags of the command: the options of a run, and two that only print."""

    dry_run: bool = option(
        False, "only print the data, ten samples as the model reads them, and the expected time and memory."
    )
    recipes: bool = option(False, "only print the recipes.")


@takes_options(TrainFlags)
def train(options: TrainFlags) -> None:
    """Fine-tunes a language model on CLIP embeddings and their captions."""
    if options.recipes:
        from clipgpt_retrieval.training.recipes import show_recipes

        print(show_recipes())
        return
    given: dict[str, Any] = {flag.name: getattr(options, flag.name) for flag in fields(TrainOptions)}
    if isinstance(options.embeddings_folder, int | float):  # fire parses a name such as 2024 as a number
        given["embeddings_folder"] = str(options.embeddings_folder)
    if options.dry_run:
        from clipgpt_retrieval.training.dry_run import dry_run

        print(dry_run(**given))
        return
    from clipgpt_retrieval.training.train import train as run

    metrics = run(**given)
    if metrics:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        print(f"model written to {options.output_folder}. Validation: {shown}")
