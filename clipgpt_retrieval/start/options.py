"""The options of `start`."""

from dataclasses import MISSING, dataclass

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.options import option


@dataclass(frozen=True)
class StartOptions:
    """The flags of `clipgpt-retrieval start`.

    Raises:
        InputError: a value that is not valid.
    """

    images: str = option(
        MISSING,
        "folder of images, with subfolders; the caption of beach.jpg is in beach.txt or, under caption, in beach.json.",
    )
    output_folder: str | None = option(
        None, "where embeddings, index and model are kept, instead of .clipgpt in the folder of images."
    )
    clip_model: str = option(
        "ViT-B/32",
        "the CLIP that embeds the images, a name that clip-retrieval takes (downloaded at the first start), a folder "
        "of your own, or demo for the small one that the package ships.",
    )
    model: str | None = option(
        None, "clipgpt model for this CLIP (directory, hub id or fsspec URL), instead of training one."
    )
    backbone: str | None = option(
        None,
        "language model to train a clipgpt model on, such as HuggingFaceTB/SmolLM2-135M; without one and without "
        "--model, CLIP's text tower encodes the queries.",
    )
    recipe: str = option("frozen", "recipe of the training, see train.")
    min_captions: int = option(1000, "captioned images that a training needs.")
    host: str = option("127.0.0.1", "address to listen on.")
    port: int = option(1234, "port to listen on; 0 takes a free one.")
    open_browser: bool = option(True, "open the page in a browser.")

    def __post_init__(self) -> None:
        if not isinstance(self.min_captions, int) or self.min_captions < 1:
            raise InputError("min_captions", f"is {self.min_captions!r}, it must be a whole number of at least 1")
        if not isinstance(self.open_browser, bool):
            raise InputError("open_browser", f"is {self.open_browser!r}, it must be True or False")
        if self.model is not None and self.backbone is not None:
            raise InputError("backbone", "has no use beside --model: give one of them")
