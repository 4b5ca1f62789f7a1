"""What the plugin adds to clip-retrieval's web front end (installed as ``clipgpt_retrieval.front_patch``).

The stock page is served as the clip-retrieval wheel ships it, with one style sheet and one module script more.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .inject import add_front_patch

__all__ = ["add_front_patch"]


def __getattr__(name: str) -> Any:
    # Flask is loaded when an app is patched, not when the package is looked at.
    if name == "add_front_patch":
        from .inject import add_front_patch

        return add_front_patch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
