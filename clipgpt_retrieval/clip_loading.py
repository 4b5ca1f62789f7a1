"""CLIP models as all_clip loads them for clip-retrieval, made ready for use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def models_in_evaluation_mode() -> Iterator[None]:
    """While this lasts, all_clip's open_clip models come in evaluation mode.

    all_clip takes them as they are made, in training mode, and warms them up so. Vision transformers do not mind. A
    tower with batch normalisation, such as a ResNet's, then goes by the statistics of the images at hand instead of
    the learned ones, and the warm-up has changed those for good.
    """
    import open_clip

    make = open_clip.create_model_and_transforms

    def make_ready(*args: Any, **kwargs: Any) -> Any:
        model, *preprocessing = make(*args, **kwargs)
        return model.eval(), *preprocessing

    open_clip.create_model_and_transforms = make_ready
    try:
        yield
    finally:
        open_clip.create_model_and_transforms = make
