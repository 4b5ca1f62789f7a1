"""The indices that a back end serves, replaced as a whole when they are read again."""

import logging
import threading
from collections.abc import Callable

from flask import Flask

from clipgpt_retrieval.back.loading import Engines, load_resources
from clipgpt_retrieval.back.options import BackOptions
from clipgpt_retrieval.back.resources import ClipGptResource
from clipgpt_retrieval.errors import ClipGptError

LOGGER = logging.getLogger(__name__)

RELOAD = "clipgpt_reload"
"""Key of the app's extension that reads the indices JSON and its indices again: `Indices.reload`."""


class Indices:
    """The indices of an app by name. A request keeps those that it began with.

    Args:
        options: the flags of `back`.

    Attributes:
        current: the indices now; the dict itself never changes.

    Raises:
        ClipGptError: see `load_resources`.
    """

    def __init__(self, options: BackOptions) -> None:
        self._options = options
        self._engines = Engines(options)
        self._reloading = threading.Lock()
        self.current: dict[str, ClipGptResource] = load_resources(options, self._engines)

    @property
    def dimension(self) -> int:
        """Dimension of the embeddings, the largest of all indices."""
        return max(resource.items.dimension for resource in self.current.values())

    def reload(self, app: Flask) -> bool:
        """Reads the indices JSON and all that it names again; models that are loaded are not.

        Until that is done, and where it fails, requests are answered from the indices as they were.

        Returns:
            Whether it succeeded; else the reason is in the log.
        """
        with self._reloading:
            try:
                self.current = load_resources(self._options, self._engines)
            except ClipGptError as error:
                LOGGER.error("the indices are not reloaded, and served as they were: %s", error)
                return False
            except Exception:  # a server must outlive whatever another program wrote into an index
                LOGGER.exception("the indices are not reloaded, and served as they were")
                return False
            self._options.limits.apply(app, self.dimension)
        LOGGER.warning("reloaded the indices: %s", ", ".join(self.current))
        return True


def reload_indices(app: Flask) -> bool:
    """Reads the indices of an app of `create_app` again, see `Indices.reload`; for SIGHUP of any server."""
    reload: Callable[[Flask], bool] = app.extensions[RELOAD]
    return reload(app)
