"""The training loop of the demo's CLIP: transformers' Trainer, as both of its stages use it."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from clipgpt_retrieval.training.bfloat16 import has_bfloat16


def fit(
    task: nn.Module,
    train_dataset: Dataset,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> None:
    """Trains ``task``, which returns its loss, in place; resumes from the last checkpoint in ``folder``."""
    on_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(50, steps // 5),
        weight_decay=weight_decay,
        adam_beta2=0.98,
        bf16=has_bfloat16("cuda" if on_gpu else "cpu"),
        use_cpu=not on_gpu,
        logging_steps=20,
        save_steps=100,
        save_total_limit=1,
        dataloader_num_workers=1,
        dataloader_prefetch_factor=4,
        remove_unused_columns=False,
        report_to="none",
        seed=seed,
    )
    # The Trainer writes this file last: a checkpoint without it is incomplete.
    complete = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    last = max(complete, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]), default=None)
    trainer = Trainer(model=task, args=arguments, train_dataset=train_dataset)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
