"""The embedded demo: two thousand small scenes drawn with emoji, a CLIP of their own and a CLIP-GPT for it.

>>> import clipgpt_retrieval as cg
>>> model = cg.load("demo")                                      # doctest: +SKIP
>>> sorted(path.name for path in cg.demo.path().iterdir())       # doctest: +SKIP
['edits.jsonl', 'images', 'img_emb', 'index', 'metadata', 'text_emb']
"""

from pathlib import Path


def path() -> Path:
    """The demo collection, laid out as clip-retrieval lays one out, with its index in ``index/``.

    It is unpacked into the user's cache when it is first asked for.
    """
    from clipgpt_retrieval.demo.unpack import unpacked

    return unpacked() / "collection"


def clip_model() -> str:
    """The demo's CLIP as clip-retrieval's ``--clip_model`` names it.

    Its architecture is made known to open_clip in this process, so that clip-retrieval called from Python loads it.
    """
    from clipgpt_retrieval.demo import clip
    from clipgpt_retrieval.demo.unpack import unpacked

    clip.register()
    return clip.clip_model(unpacked() / "clip.safetensors")
