"""The clip-retrieval back end with CLIP-GPT: `create_app` for any WSGI server, `serve` for the built-in one.

Importing this package is quick; clip-retrieval and torch are imported when an app is created.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipgpt_retrieval.back.app import create_app
    from clipgpt_retrieval.back.server import serve

__all__ = ["create_app", "serve"]


def __getattr__(name: str) -> Any:
    if name == "create_app":
        from clipgpt_retrieval.back.app import create_app

        return create_app
    if name == "serve":
        from clipgpt_retrieval.back.server import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
