"""CLIP-GPT for clip-retrieval: text to predicted CLIP image embedding, and CLIP embedding to caption.

The public names are imported when they are first used, so that importing the package is quick:

    >>> import clipgpt_retrieval as cg
    >>> cg.ClipGptClient.__name__
    'ClipGptClient'
"""

# Not even typing, which takes time: with the plugin enabled, every Python process of the environment imports this.
from clipgpt_retrieval.host import install as _install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from clipgpt_retrieval import demo
    from clipgpt_retrieval.client import ClipGptClient
    from clipgpt_retrieval.engine import ClipGpt, load

    __version__: str

__all__ = ["ClipGpt", "ClipGptClient", "demo", "load"]

_HOME_OF = {
    "ClipGpt": "clipgpt_retrieval.engine",
    "load": "clipgpt_retrieval.engine",
    "ClipGptClient": "clipgpt_retrieval.client",
}

_install()


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("clipgpt-retrieval")
    from importlib import import_module

    if name == "demo":
        return import_module("clipgpt_retrieval.demo")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
