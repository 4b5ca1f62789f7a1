"""The embedded demo: 2,000 small scenes drawn with emoji, a CLIP trained on such scenes, and a CLIP-GPT for it.

>>> import clipgpt_retrieval as cg
>>> model = cg.load("demo")
>>> (cg.demo.path() / "index" / "image.index").is_file()
True
"""

from pathlib import Path


def path() -> Path:
    """The demo collection in clip-retrieval's layout, with its index in ``index/``.

    The first call unpacks it into the user's cache.

    Raises:
        DataError: the installation lacks the demo's files, or the cache cannot be written.

    Examples:
        >>> import numpy as np
        >>> np.load(path() / "img_emb" / "img_emb_0.npy").ndim
        2
    """
    from clipgpt_retrieval.demo.unpack import unpacked

    return unpacked() / "collection"


def clip_model() -> str:
    """The demo's CLIP as a value of clip-retrieval's ``--clip_model``.

    Registers its architecture with open_clip in this process, so that clip-retrieval called from Python can load it.

    Examples:
        >>> clip_model().startswith("open_clip:")
        True
    """
    from clipgpt_retrieval.demo import clip
    from clipgpt_retrieval.demo.unpack import unpacked

    clip.register()
    return clip.clip_model(unpacked() / "clip.safetensors")
