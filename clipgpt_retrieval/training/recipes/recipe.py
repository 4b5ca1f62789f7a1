"""A training recipe: the model's layers, the trainer, the losses and the optimizer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One way to train a clipgpt model.

    Attributes:
        name: as ``--recipe`` takes it.
        summary: one line for people.
        trainer: ``"end_to_end"`` or ``"frozen"``, see :data:`~clipgpt_retrieval.training.open_run.TRAINERS`.
        clip_in: see ``ClipGptConfig``; so are the next four.
        clip_out: ...
        prefix_length: ...
        readout_pool: ...
        readout_layers: fractions of the backbone's depth.
        query_repeats: see ``ClipGptConfig``.
        caption_from: see ``ClipGptConfig``.
        prompt_format: see ``ClipGptConfig``.
        lora_rank: rank of adapters beside the backbone's linear layers, which are frozen and merged at the end (LoRA,
            Hu et al. 2021, arXiv:2106.09685); 0: all weights are trained.
        ridge_start: clip_out is initialised by ridge regression on the hidden states of the untrained model, which
            overfits less than a random start where images are few.
        contrastive: InfoNCE and cosine, else the mean squared error on raw embeddings.
        tasks: what a step does with an image, see ``Collator``.
        encode_text_loss: language modelling on the query's own text and the tokens after it as well.
        caption_weight: weight of the caption loss, as in CoCa (Yu et al. 2022, arXiv:2205.01917).
        embedding_norm: the norm of the embeddings that the model reads and, under the squared error, predicts.
        embedding_noise: noise on the embeddings to caption, as a share of their standard deviation (CapDec, Nukrai et
            al. 2022, arXiv:2211.00575), for captions of embeddings that an index has compressed.
        epochs: passes over the training set, instead of ``steps``; 0: ``steps`` counts.
        steps: optimizer steps; of the frozen trainer those of the fusion.
        batch_size: images in a step; of the frozen trainer tokens.
        learning_rate: at its peak.
        warmup_steps: steps to that peak.
        schedule: of the learning rate after the peak, as transformers names it.
        weight_decay: AdamW's.
    """

    name: str
    summary: str
    trainer: str = "end_to_end"
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
