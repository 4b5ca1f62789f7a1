"""What a training recipe says: what is trained, by which losses, and how fast."""

from dataclasses import dataclass


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
        prompt_format: see ``ClipGptConfig``.
        lora_rank: the backbone's weights stay as they are and every linear map of it learns a difference of this rank
            beside them, merged into them at the end (LoRA, Hu et al. 2021, arXiv:2106.09685); 0: all is trained.
        ridge_start: clip_out begins as a ridge regression on the states of the untrained model: with few images a
            step then turns what already ranks, instead of learning by heart from nothing.
        freeze_backbone: hidden states are computed once; only what reads them is trained.
        contrastive: InfoNCE and cosine, else the mean squared error on raw embeddings.
        tasks: what a step does with an image, see ``Collator``.
        encode_text_loss: also learn to say the query's own text and the tokens after it.
        caption_weight: of the loss of captions beside the other losses, as CoCa has one (Yu et al. 2022,
            arXiv:2205.01917).
        embedding_norm: the norm of the embeddings that the model reads and, under the squared error, predicts.
        embedding_noise: noise on the embeddings that are captioned, as a share of their own spread (CapDec, Nukrai et
            al. 2022, arXiv:2211.00575): captions then also fit embeddings that an index has compressed.
        epochs: instead of steps: how often each image is read; 0 where steps count.
        steps: optimiser steps; with a frozen backbone those of the fusion, as all else has a closed form.
        batch_size: images in a step; with a frozen backbone tokens.
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
    prompt_format: str = "clipgpt"
    lora_rank: int = 0
    ridge_start: bool = False
    freeze_backbone: bool = False
    contrastive: bool = True
    tasks: str = "both"
    encode_text_loss: bool = False
    caption_weight: float = 1.0
    embedding_norm: float = 1.0
    embedding_noise: float = 0.0
    epochs: int = 0
    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 5e-4
    warmup_steps: int = 50
    schedule: str = "cosine"
    weight_decay: float = 0.05
