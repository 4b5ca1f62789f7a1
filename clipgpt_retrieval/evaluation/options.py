"""The options of an evaluation."""

from dataclasses import MISSING, dataclass

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import option


@dataclass(frozen=True)
class EvaluateOptions:
    """The flags of `clipgpt-retrieval evaluate`.

    Raises:
        InputError: a value that is not valid.
    """

    embeddings_folder: str = option(
        MISSING,
        "what `clip-retrieval inference` wrote: img_emb/ and metadata/ with captions, optionally text_emb/.",
    )
    model: str = option(MISSING, "clipgpt model: directory, hub id or fsspec URL.")
    output_folder: str = option("evaluation", "where evaluation.json and evaluation.html are written.")
    clip_model: str | None = option(
        None,
        "the CLIP of the embeddings (as clip-retrieval names it, a folder of your own, or demo), to embed every "
        "caption with its text tower instead of reading text_emb/.",
    )
    index: str | None = option(None, "index folder that `clip-retrieval index` made of the embeddings folder.")
    karpathy: str | None = option(
        None, "Karpathy split file, such as dataset_coco.json, whose test images are evaluated (1K and 5K)."
    )
    interleaved: str | None = option(None, "JSONL file of interleaved queries over the folder's rows, as for train.")
    caption_images: int = option(1000, "maximum number of images that are captioned; 0: none.")
    write_min_similarity: bool = option(
        False, "write the proposed min_similarity and thresholds of matches into the model's config."
    )
    device: str = option("auto", "auto, cpu, cuda or mps.")
    seed: int = option(0, "random seed of the bootstrap resamples and of the halves.")

    def __post_init__(self) -> None:
        if self.caption_images < 0:
            raise InputError("caption_images", f"is {self.caption_images}, it must be 0 or more")
