"""CLIP-GPT's controls for clip-retrieval's web front end (installed as ``clipgpt_retrieval.front_patch``).

The stock page is served from the clip-retrieval wheel, with a style sheet and a module script added to its head.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .inject import add_front_patch

__all__ = ["add_front_patch"]


def __getattr__(name: str) -> Any:
    # Flask is imported when an app is patched, not with the package.
    if name == "add_front_patch":
        from .inject import add_front_patch

        return add_front_patch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
