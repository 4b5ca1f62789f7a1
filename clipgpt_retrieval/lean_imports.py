"""transformers without what it imports for features that captions have no use for, which take 200 MB of memory."""

import importlib
import sys

from clipgpt_retrieval.library_pages import let_go_of_libraries

UNUSED = ("scipy", "sklearn", "torchvision")
"""What transformers imports, where it is installed, for assisted generation and for models of images."""


def import_lean() -> None:
    """Imports transformers as if it were alone with torch, and lets go of what only linking them needed.

    Nothing happens where it is imported already.

    For processes of our own alone: to the end of the process transformers takes the others for missing. Imported later
    by whoever needs them, they work as ever.
    """
    if "transformers" in sys.modules:
        return
    import torch

    # Triton compiles for GPUs.
    names = [name for name in (*UNUSED, *([] if torch.cuda.is_available() else ["triton"])) if name not in sys.modules]
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]  # importing it now fails as if it were not installed
    try:
        importlib.import_module("clipgpt_retrieval.engine")
        importlib.import_module("transformers.models.gpt2.modeling_gpt2")
    finally:
        for name in names:
            del sys.modules[name]
    let_go_of_libraries()
