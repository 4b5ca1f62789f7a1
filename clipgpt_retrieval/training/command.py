"""``clipgpt-retrieval train``."""

from clipgpt_retrieval.errors import InputError


def train(
    embeddings_folder: str | list[str] | None = None,
    output_folder: str | None = None,
    recipe: str = "default",
    backbone: str = "gpt2",
    tokenizer: str | None = None,
    clip_model: str = "ViT-B/32",
    validation_fraction: float = 0.1,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    captions: str | None = None,
    caption_targets: str | None = None,
    stream: bool = False,
    cache_gb: float = 20.0,
    weights: float | list[float] | None = None,
    interleaved: str | None = None,
    interleaved_weight: float = 0.5,
    texts: str | None = None,
    texts_weight: float = 0.5,
    hard_negatives: int = 0,
    self_conditioning_prob: float = 0.0,
    embedding_noise: float | None = None,
    micro_batch: int | None = None,
    bf16: bool = False,
    compile: bool = False,
    device: str = "auto",
    eval_every: int | None = None,
    save_every: int | None = None,
    keep: str = "last",
    wandb: str | None = None,
    seed: int = 0,
    dry_run: bool = False,
    recipes: bool = False,
) -> None:
    """Fine-tunes a language model on embeddings and their captions.

    Args:
        embeddings_folder: what ``clip-retrieval inference`` wrote: img_emb/ and metadata/ with captions; several with
            commas between, or a brace pattern such as part_{00..15}.
        output_folder: where the clipgpt model goes; an interrupted run goes on from its last checkpoint.
        recipe: default, frozen (no GPU needed), lora, general-gpt or clipcap; --recipes shows them.
        backbone: hub id, directory, fsspec URL, .gguf file, or scratch:tiny / scratch:small; or a clipgpt model, to go
            on from what it has learned.
        tokenizer: directory or hub id; needed by scratch.
        clip_model: the CLIP that made the embeddings, as clip-retrieval inference took it.
        validation_fraction: share of the images that is kept to measure on.
        steps: optimiser steps, instead of the recipe's.
        batch_size: images in a step, instead of the recipe's.
        learning_rate: of the optimiser, instead of the recipe's.
        captions: captions_train2017.json of COCO or a split file of Karpathy's, joined to the folder by file name.
        caption_targets: column of the metadata with the captions to generate, such as synthetic captions, where the
            folder's captions (alt texts, for example) are only the queries.
        stream: read a window at a time, for collections larger than the memory.
        cache_gb: local disk that copies of a streamed remote folder's files may take, in gigabytes; 0: no copies.
        weights: how much of a step comes of each folder, such as 3,1.
        interleaved: JSONL file of interleaved queries over rows of the folder, which ask for an image or for a text,
            learned beside the captions; docs/training.md shows a line of each.
        interleaved_weight: how many interleaved queries a step has for each of its images.
        texts: file of captions without images, a line each: the language is learned from them too.
        texts_weight: how many of these captions a step has for each of its images.
        hard_negatives: how many of the images most like it each image's query is told from, beside the step's own.
        self_conditioning_prob: share of the captions that are generated from the model's own predictions instead of
            their images, so that reading back a query adds less that it does not contain.
        embedding_noise: noise on the embeddings that are captioned, as a share of their spread, for captions from a
            compressed index.
        micro_batch: the most sequences in memory at once; the loss stays that of the whole batch.
        bf16: compute in bfloat16, which most GPUs and newer CPUs do faster; one without it stays with float32.
        compile: compile the backbone with torch.compile, which takes a minute or more at first; needs a C++ compiler.
        device: auto, cpu, cuda or mps.
        eval_every: steps between two measurements, instead of a fifth of the run.
        save_every: steps between two checkpoints, instead of a fifth of the run and at most 500.
        keep: last or best: which weights become the model.
        wandb: project of Weights & Biases to show the run in, beside TensorBoard.
        seed: random seed of the split, the weights and the order.
        dry_run: only show what was found, ten samples as the model reads them, and the time and memory to expect.
        recipes: only show the recipes.
    """
    settings = dict(locals())
    rehearse = settings.pop("dry_run")
    if settings.pop("recipes"):
        from clipgpt_retrieval.training.recipes import show_recipes

        print(show_recipes())
        return
    for field in ("embeddings_folder", "output_folder"):
        if settings[field] is None:
            raise InputError(field, "is missing: clipgpt-retrieval train embeddings_folder output_folder")
    if isinstance(embeddings_folder, int | float):  # fire reads a name such as 2024 as a number
        settings["embeddings_folder"] = str(embeddings_folder)
    if rehearse:
        from clipgpt_retrieval.training.dry_run import dry_run as show

        print(show(**settings))
        return
    from clipgpt_retrieval.training.train import train as run

    metrics = run(**settings)
    if metrics:
        print(f"{output_folder} holds the model. Held out: " + ", ".join(f"{k} {v:.3f}" for k, v in metrics.items()))
