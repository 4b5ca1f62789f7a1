"""The embedded demo: two thousand small scenes drawn with emoji, a CLIP of their own and a CLIP-GPT for it.

>>> import clipgpt_retrieval as cg
>>> model = cg.load("demo")
>>> (cg.demo.path() / "index" / "image.index").is_file()
True
"""

from pathlib import Path


def path() -> Path:
    """The demo collection, laid out as clip-retrieval lays one out, with its index in ``index/``.

    It is unpacked into the user's cache when it is first asked for.

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
    """The demo's CLIP as clip-retrieval's ``--clip_model`` names it.

    Its architecture is made known to open_clip in this process, so that clip-retrieval called from Python loads it.

    Examples:
        >>> clip_model().startswith("open_clip:")
        True
    """
    from clipgpt_retrieval.demo import clip
    from clipgpt_retrieval.demo.unpack import unpacked

    clip.register()
    return clip.clip_model(unpacked() / "clip.safetensors")
