"""Every public name has an example in its docstring, and the examples are right, as doctests on the demo.

The public names are those of the Python reference. The examples of one entry run as one, the class's first.
"""

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "python.md"
ENTRY = re.compile(r"^::: ([\w.]+)\n((?: +.*\n)*)", re.MULTILINE)
DEMO_ADDRESS = "http://127.0.0.1:1234"

ENTRIES = {name: yaml.safe_load(options or "{}") for name, options in ENTRY.findall(REFERENCE.read_text())}


def named(path: str) -> object:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def documented(entry: str) -> Iterator[tuple[str, object]]:
    """An entry of the reference and its public callable members."""
    owner = named(entry)
    if not isinstance(owner, ModuleType):
        yield entry, owner
    shown = ENTRIES[entry].get("options", {}).get("members")
    for name, member in vars(owner).items():
        is_own = getattr(member, "__module__", None) == getattr(owner, "__module__", owner.__name__)
        if callable(member) and is_own and not name.startswith("_") and (shown is None or name in shown):
            yield f"{entry}.{name}", member


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_public_name_has_an_example_that_is_run(entry):
    names = dict(documented(entry))
    assert names
    without = [name for name, value in names.items() if ">>>" not in (inspect.getdoc(value) or "")]
    assert not without
    assert not any("+SKIP" in (inspect.getdoc(value) or "") for value in names.values())


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
def test_the_examples_are_right(entry, demo_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "\n\n".join(inspect.getdoc(value) or "" for _, value in documented(entry))
    owner = named(entry)
    scope = dict(vars(owner if isinstance(owner, ModuleType) else importlib.import_module(owner.__module__)))
    example = doctest.DocTestParser().get_doctest(source.replace(DEMO_ADDRESS, demo_server.url), scope, entry, None, 0)
    failures: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=failures.append)
    assert not failures, "".join(failures)
