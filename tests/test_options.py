"""Flags are declared once: the command's signature, its help and its docs are those of the dataclass."""

import inspect
import re
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

import griffe
import pytest
from fire import docstrings

from clipgpt_retrieval import cli
from clipgpt_retrieval.bench.command import bench
from clipgpt_retrieval.bench.options import BenchOptions
from clipgpt_retrieval.options import option, takes_options

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class CopyOptions:
    source: str = option(MISSING, "what to copy.")
    target: str | None = option(None, "where to: a folder.")
    retries: int = option(3, "attempts after the first.")


@takes_options(CopyOptions)
def copy(options: CopyOptions) -> dict:
    """Copies files."""
    return asdict(options)


@takes_options(CopyOptions)
def copy_named(*names: str, options: CopyOptions) -> tuple:
    """Copies files of given names.

    Args:
        *names: names of the files.
    """
    return names, options


def test_the_signature_is_that_of_the_dataclass():
    parameters = inspect.signature(bench).parameters
    assert {name: one.default for name, one in parameters.items()} == asdict(BenchOptions())
    assert parameters["texts"].annotation == str | None
    assert [one.kind.name for one in parameters.values()] == ["POSITIONAL_OR_KEYWORD"] * len(parameters)


def test_flags_may_be_positions_or_names():
    assert copy("a", "b", retries=1) == {"source": "a", "target": "b", "retries": 1}
    with pytest.raises(TypeError, match="source"):
        copy(target="b")


def test_names_of_its_own_come_before_the_flags():
    assert copy_named("x", "y", source="a") == (("x", "y"), CopyOptions("a"))
    kinds = [one.kind.name for one in inspect.signature(copy_named).parameters.values()]
    assert kinds == ["VAR_POSITIONAL", "KEYWORD_ONLY", "KEYWORD_ONLY", "KEYWORD_ONLY"]
    assert copy_named.__doc__.count("Args:") == 1
    assert "    *names: names of the files.\n    source: what to copy.\n" in copy_named.__doc__


def test_the_help_is_that_of_the_dataclass(monkeypatch, capsys):
    shown = docstrings.parse(inspect.getdoc(bench)).args
    assert {one.name: one.description for one in shown} == {
        one.name: one.metadata["help"] for one in fields(BenchOptions)
    }
    monkeypatch.setattr("sys.argv", ["clipgpt-retrieval", "bench", "--help"])
    cli.main()
    said = " ".join(capsys.readouterr().out.split())
    assert all(f"--{one.name}=" in said and one.metadata["help"] in said for one in fields(BenchOptions))


def test_the_docs_table_is_that_of_the_dataclass():
    """As mkdocstrings makes docs/reference/command_line.md, with the extension that mkdocs.yml names."""
    extension = re.search(r"docs/command_signatures\.py:\w+", (REPOSITORY / "mkdocs.yml").read_text())[0]
    extensions = griffe.load_extensions(f"{REPOSITORY}/{extension}")
    package = griffe.load("clipgpt_retrieval.bench", submodules=True, extensions=extensions)
    command = package["command.bench"]
    assert [one.name for one in command.parameters] == [one.name for one in fields(BenchOptions)]
    (table,) = (part for part in command.docstring.parse("google") if part.kind.value == "parameters")
    assert [(row.name, str(row.annotation), row.default, row.description) for row in table.value] == [
        (one.name, inspect.formatannotation(one.type), repr(one.default), one.metadata["help"])
        for one in fields(BenchOptions)
    ]
