"""Training recipes: what is trained, by which losses, and how fast."""

from dataclasses import dataclass

from clipgpt_retrieval.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """One way to train a clipgpt model.

    Attributes:
        name: as ``--recipe`` takes it.
        summary: one line for people.
        clip_in: see ``ClipGptConfig``; so are the next four.
        clip_out: ...
        prefix_length: ...
        readout_pool: ...
        readout_layers: fractions of the backbone's depth.
        query_repeats: see ``ClipGptConfig``.
        caption_from: see ``ClipGptConfig``.
        freeze_backbone: hidden states are computed once; only what reads them is trained.
        contrastive: InfoNCE and cosine, else the mean squared error on raw embeddings.
        tasks: what a step does with a picture, see ``Collator``.
        encode_text_loss: also learn to say the query's own text and the tokens after it.
        embedding_norm: the norm of the embeddings that the model reads and, under the squared error, predicts.
        embedding_noise: noise on the embeddings that are captioned, as a share of their own spread (CapDec, Nukrai et
            al. 2022, arXiv:2211.00575): captions then also fit embeddings that an index has compressed.
        steps: optimiser steps; with a frozen backbone those of the fusion, as all else has a closed form.
        batch_size: pictures in a step; with a frozen backbone tokens.
        learning_rate: at its peak.
        warmup_steps: steps to that peak.
        schedule: how the rate falls after it, as transformers names it.
        weight_decay: AdamW's.
    """

    name: str
    summary: str
    clip_in: str = "linear"
    clip_out: str = "linear"
    prefix_length: int = 4
    readout_pool: str = "last_mean"
    readout_layers: tuple[float, ...] = (1.0,)
    query_repeats: int = 1
    caption_from: str = "prefix"
    freeze_backbone: bool = False
    contrastive: bool = True
    tasks: str = "both"
    encode_text_loss: bool = False
    embedding_norm: float = 1.0
    embedding_noise: float = 0.0
    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 5e-4
    warmup_steps: int = 50
    schedule: str = "cosine"
    weight_decay: float = 0.05


RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe(
            name="default",
            summary="InfoNCE and cosine on [CLIP OUT], language modelling on captions; everything is trained",
            # The tokens themselves and a layer on the way: of few pictures the last layer alone learns by heart.
            readout_layers=(0.0, 0.5, 1.0),
        ),
        Recipe(
            name="frozen",
            summary="the backbone stays as it is, its hidden states are computed once: minutes without a GPU",
            prefix_length=1,
            readout_pool="mean_each",
            readout_layers=tuple(step / 10 for step in range(11)),
            query_repeats=2,
            caption_from="fusion",
            freeze_backbone=True,
            embedding_noise=0.5,
            steps=240,
            batch_size=1024,
            learning_rate=1e-3,
        ),
        Recipe(
            name="general-gpt",
            summary="General-GPT's notebook: squared error on the raw embedding, each caption in one of two tasks",
            clip_in="identity",
            clip_out="identity",
            prefix_length=1,
            readout_pool="last",
            contrastive=False,
            tasks="draw",
            encode_text_loss=True,
            embedding_norm=10.0,
            batch_size=16,
            learning_rate=1e-4,
            warmup_steps=2000,
            schedule="linear",
            weight_decay=0.01,
        ),
    ]
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise InputError("recipe", f"{name!r} is unknown: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
