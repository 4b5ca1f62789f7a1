"""The command line: ``clipgpt-retrieval train | evaluate | back | enable | disable | status | encode | caption``."""

import sys
from collections.abc import Callable
from typing import Any

from clipgpt_retrieval.errors import ClipGptError


def train(
    embeddings_folder: str,
    output_folder: str,
    recipe: str = "default",
    backbone: str = "gpt2",
    tokenizer: str | None = None,
    clip_model: str = "ViT-B/32",
    validation_fraction: float = 0.1,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    interleaved: str | None = None,
    interleaved_weight: float = 0.5,
    bf16: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Fine-tunes a language model on embeddings and their captions.

    Args:
        embeddings_folder: what ``clip-retrieval inference`` wrote: img_emb/ and metadata/ with captions.
        output_folder: where the clipgpt model goes; an interrupted run goes on from its last checkpoint.
        recipe: default, frozen (no GPU needed) or general-gpt.
        backbone: hub id, directory, .gguf file, or scratch:tiny / scratch:small.
        tokenizer: directory or hub id; needed by scratch.
        clip_model: the CLIP that made the embeddings.
        validation_fraction: share of the pictures that is kept to measure on.
        steps: optimiser steps, instead of the recipe's.
        batch_size: pictures in a step, instead of the recipe's.
        learning_rate: instead of the recipe's.
        interleaved: JSONL file of interleaved queries, {"segments": [{"clip": row}, {"text": ".."}], "target":
            {"clip": row}} a line, with rows of the folder: learned beside the captions.
        interleaved_weight: how many of them in a step for each picture of it.
        bf16: compute in bfloat16, for GPUs and CPUs that are faster so.
        device: auto, cpu, cuda or mps.
        seed: of the split, the weights and the order.
    """
    from clipgpt_retrieval.training.train import train as run

    figures = run(
        embeddings_folder,
        output_folder,
        recipe=recipe,
        backbone=backbone,
        tokenizer=tokenizer,
        clip_model=clip_model,
        validation_fraction=validation_fraction,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        interleaved=interleaved,
        interleaved_weight=interleaved_weight,
        bf16=bf16,
        device=device,
        seed=seed,
    )
    print(f"{output_folder} holds the model. Held out: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))


def enable() -> None:
    """Turns the plugin on: plain `clip-retrieval back --clipgpt_model MODEL` then uses CLIP-GPT."""
    from clipgpt_retrieval.plugin import enable as run

    print(run())


def disable() -> None:
    """Turns the plugin off and gives clip-retrieval back as it was."""
    from clipgpt_retrieval.plugin import disable as run

    print(run())


def status() -> None:
    """Tells whether the plugin is on, and where."""
    from clipgpt_retrieval.plugin import status as run

    print(run())


def _commands() -> dict[str, Callable[..., Any]]:
    from clipgpt_retrieval.back import serve
    from clipgpt_retrieval.bulk.command import caption, encode
    from clipgpt_retrieval.evaluation.command import evaluate
    from clipgpt_retrieval.explore.command import explore

    return {
        "back": serve,
        "enable": enable,
        "disable": disable,
        "status": status,
        "train": train,
        "evaluate": evaluate,
        "encode": encode,
        "caption": caption,
        "explore": explore,
    }


def main() -> None:
    """Runs a command; what the user can put right is told in one line, with exit status 2."""
    import fire

    try:
        fire.Fire(_commands(), name="clipgpt-retrieval")
    except ClipGptError as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str) -> int:
    print(f"clipgpt-retrieval: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
