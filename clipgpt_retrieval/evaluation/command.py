"""The command ``clipgpt-retrieval evaluate``."""


def evaluate(
    embeddings_folder: str,
    model: str,
    output_folder: str = "evaluation",
    clip_model: str | None = None,
    index: str | None = None,
    karpathy: str | None = None,
    interleaved: str | None = None,
    caption_images: int = 1000,
    write_min_similarity: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Measures a model on a collection: retrieval, captions, calibration, against CLIP's own text tower.

    Prints tables and writes evaluation.json and evaluation.html. Of the folder that the model was trained on, only
    the images that were held out count.

    Args:
        embeddings_folder: what ``clip-retrieval inference`` wrote: img_emb/ and metadata/ with captions, text_emb/ too.
        model: clipgpt model: directory, hub id or fsspec URL.
        output_folder: where evaluation.json and evaluation.html go.
        clip_model: the CLIP of the embeddings, to embed every caption by its text tower instead of text_emb/.
        index: what ``clip-retrieval index`` made of this folder, to see what its compression costs.
        karpathy: dataset_coco.json or a sibling: its test images are measured on, as papers do for 1K and 5K.
        interleaved: a JSONL file of interleaved queries over the folder's rows, as train takes it.
        caption_images: how many images are captioned at most; 0: none.
        write_min_similarity: write the proposed min_similarity into the model's config.
        device: auto, cpu, cuda or mps.
        seed: random seed of resamples and halves.
    """
    from clipgpt_retrieval.evaluation.evaluate import Settings
    from clipgpt_retrieval.evaluation.evaluate import evaluate as run
    from clipgpt_retrieval.evaluation.terminal import show

    settings = Settings(
        clip_model=clip_model,
        index=index,
        karpathy=karpathy,
        interleaved=interleaved,
        caption_images=caption_images,
        write_min_similarity=write_min_similarity,
        device=device,
        seed=seed,
    )
    show(run(embeddings_folder, model, output_folder, settings))
    print(f"{output_folder} holds evaluation.json and evaluation.html")
