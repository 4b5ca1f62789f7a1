"""clip-retrieval's client, without the rest of that package, which imports torch and takes seconds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

CLIENT_MODULE = "clip_retrieval.clip_client"


class ClientModuleFinder:
    """A meta-path finder for clip-retrieval's client module, which is already loaded here.

    With it there is one class `ClipClient`, whichever of the two packages is imported first.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A spec whose loader is this object, for the client module alone."""
        return importlib.util.spec_from_loader(name, self) if name == CLIENT_MODULE else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The loaded module."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing, since the module has been executed."""


def client_module() -> ModuleType:
    """clip-retrieval's client module, without running the package."""
    if "clip_retrieval" in sys.modules:
        return importlib.import_module(CLIENT_MODULE)
    package = importlib.util.find_spec("clip_retrieval")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("clip-retrieval is not installed", name="clip_retrieval")
    file = Path(package.submodule_search_locations[0]) / "clip_client.py"
    spec = importlib.util.spec_from_file_location(CLIENT_MODULE, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.meta_path.insert(0, ClientModuleFinder(module))
    return module
