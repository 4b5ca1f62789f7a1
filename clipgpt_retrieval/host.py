"""What clip-retrieval, the host of the plugin, needs to run on current libraries.

`install` adds a meta-path finder by which the modules in `ADAPTED` get what they miss when they are imported. Importing
this package calls it; where the plugin is enabled, every Python process of the environment does. This module therefore
imports nothing but `sys` at module level.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

UNCAPPED_FROM = (3, 13)
"""The first Python for which clip-retrieval's requirements, such as numpy<2, have no wheels: it is installed alone."""

WITHOUT_REQUIREMENTS = ("clip-retrieval>=2.45,<3", "autofaiss>=2.17,<3", "all-clip>=1.3,<2")
"""The packages that are installed without their requirements there, as in clip-retrieval.txt; setup.cfg requires what
they import."""


def install() -> None:
    """Makes the modules in `ADAPTED` importable in this process."""
    if HostFinder not in sys.meta_path:
        sys.meta_path.insert(0, HostFinder)


class HostFinder:
    """A meta-path finder for the modules in `ADAPTED`.

    Not derived from `importlib.abc.MetaPathFinder`, whose import would cost every Python start milliseconds.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec that the later finders return for the module, with a loader that also adapts it."""
        if name not in ADAPTED:
            return None
        return spec_with(HostFinder, ADAPTED[name], name, path, target)


def spec_with(
    finder: Any,
    load_with: Callable[[ModuleType, Callable[[ModuleType], None]], None],
    name: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
) -> ModuleSpec | None:
    """The spec of a module from the finders behind ``finder``, loaded by ``load_with(module, load)``."""
    for later in sys.meta_path[sys.meta_path.index(finder) + 1 :]:
        spec = later.find_spec(name, path, target) if hasattr(later, "find_spec") else None
        if spec is not None:
            _load_with(load_with, spec.loader)
            return spec
    return None


def _load_with(load_with: Callable[[ModuleType, Callable[[ModuleType], None]], None], loader: Any) -> None:
    load = loader.exec_module
    # On the instance, which loads this module only; the rest of the loader stays as it is.
    loader.exec_module = lambda module: load_with(module, load)


def _load_clip(module: ModuleType, load: Callable[[ModuleType], None]) -> None:
    with _pkg_resources():
        load(module)


def _load_clip_front(module: Any, load: Callable[[ModuleType], None]) -> None:
    import functools

    load(module)
    stock = module.add_static_endpoints

    @functools.wraps(stock)
    def add_static_endpoints(*args: Any, **kwargs: Any) -> None:
        with _pkg_resources():  # which upstream imports inside the function
            stock(*args, **kwargs)

    module.add_static_endpoints = add_static_endpoints


def _load_reconstruction(module: Any, load: Callable[[ModuleType], None]) -> None:
    import functools

    load(module)
    stock = module.reconstruction_error

    @functools.wraps(stock)
    def reconstruction_error(*args: Any, **kwargs: Any) -> float:
        return float(stock(*args, **kwargs))  # autofaiss writes it as JSON, which from numpy 2 on needs Python's float

    module.reconstruction_error = reconstruction_error


ADAPTED = {
    "autofaiss.metrics.reconstruction": _load_reconstruction,
    "clip.clip": _load_clip,
    "clip_retrieval.clip_front": _load_clip_front,
}
"""By module: how to load it."""


def _pkg_resources() -> AbstractContextManager[None]:
    """Provides what clip and clip-retrieval take from pkg_resources, which setuptools no longer has.

    A release that still has it warns when it is imported; it is not imported then.
    """
    import importlib.util
    from contextlib import contextmanager
    from pathlib import Path
    from types import ModuleType

    import packaging.version

    def resource_filename(package: str, name: str) -> str:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None
        return str(Path(spec.origin).parent / name)

    @contextmanager
    def provided() -> Iterator[None]:
        earlier = sys.modules.get("pkg_resources")
        module: Any = ModuleType("pkg_resources")
        module.packaging, module.resource_filename = packaging, resource_filename
        sys.modules["pkg_resources"] = module
        try:
            yield
        finally:
            del sys.modules["pkg_resources"]
            if earlier is not None:
                sys.modules["pkg_resources"] = earlier

    return provided()
