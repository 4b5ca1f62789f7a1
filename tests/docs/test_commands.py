"""Commands, flags, scripts, extras and Python names in the documentation exist.

Blocks marked ``<!-- run on the demo -->`` are run. Blocks marked ``<!-- needs a network -->`` are only checked.
"""

import ast
import configparser
import importlib
import inspect
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
RUN = "<!-- run on the demo -->"
BLOCK = re.compile(
    r"(?:(?P<mark><!-- [^>]* -->)\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    page: Path
    mark: str | None
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(page, block["mark"], block["language"], block["text"]) for block in found]


def commands(page: Path) -> Iterator[list[str]]:
    """The shell commands of a page, as argument lists."""
    for block in blocks(page):
        if block.language != "bash":
            continue
        yield from split_commands(block.text)


def split_commands(text: str) -> Iterator[list[str]]:
    """The arguments of each command in lines such as ``one && two; three | four``."""
    joined = re.sub(r"(^|\s)#.*$", "", text.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(joined, posix=True, punctuation_chars=";&|\n")
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t", "", True
    for is_separator, words in itertools.groupby(lexer, key=lambda word: set(word) <= set(";&|\n")):
        if not is_separator:
            yield list(words)


def names_of_pages(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(REPOSITORY)) for page in pages]


by_page = pytest.mark.parametrize("page", PAGES, ids=names_of_pages(PAGES))


def own_commands() -> dict:
    from clipgpt_retrieval.cli import commands

    return commands()


def stock_commands() -> dict:
    """clip-retrieval's commands, with CLIP-GPT's flags as the plugin adds them."""
    from clip_retrieval import clip_filter, clip_front, clip_index, clip_inference
    from clip_retrieval.clip_back_prepro import index_combiner, parquet_to_arrow

    from clipgpt_retrieval.plugin import with_clipgpt

    def function(module):
        return module if callable(module) else getattr(module, module.__name__.rpartition(".")[2])

    stock_back = importlib.import_module("clip_retrieval.clip_back").clip_back
    return {
        "back": with_clipgpt(stock_back),
        "filter": function(clip_filter),
        "front": function(clip_front),
        "index": function(clip_index),
        "inference": function(clip_inference),
        "index_combiner": function(index_combiner),
        "parquet_to_arrow": function(parquet_to_arrow),
    }


def check_call(words: list[str], known: dict) -> None:
    """A call as fire parses it: a command, its flags and its positional arguments.

    Raises:
        AssertionError: what fire would refuse.
    """
    assert words[1] in known, f"there is no command {' '.join(words[:2])}"
    if words[-1] == "--help":
        return
    parameters = inspect.signature(known[words[1]]).parameters
    given: dict[str, str] = {}
    plain: list[str] = []
    rest = words[2:]
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            plain.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        assert name.replace("-", "_") in parameters, f"{' '.join(words[:2])} has no flag --{name}"
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        given[name.replace("-", "_")] = value
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters.values()):
        plain = []
    inspect.signature(known[words[1]]).bind(*plain, **given)


@pytest.mark.parametrize("name", own_commands())
def test_the_help_of_every_flag_is_complete(name):
    """fire cuts a description where a line after its first has a colon."""
    from fire import docstrings

    command = own_commands()[name]
    written = inspect.getdoc(command)
    shown = docstrings.parse(written).args or []
    parameters = inspect.signature(command).parameters.values()
    assert [flag.name for flag in shown] == [one.name for one in parameters if one.kind is not one.VAR_POSITIONAL]
    _, _, arguments = written.partition("Args:\n")
    of_flags = re.sub(r"^ *\*.*\n", "", arguments, flags=re.MULTILINE)
    assert " ".join(f"{flag.name}: {flag.description}" for flag in shown).split() == of_flags.split()


@by_page
def test_commands_and_flags_exist(page):
    for words in commands(page):
        if words[0] == "clipgpt-retrieval" and len(words) > 1:
            check_call(words, own_commands())


@pytest.mark.slow
@by_page
def test_clip_retrievals_commands_and_flags_exist(page):
    for words in commands(page):
        if words[0] == "clip-retrieval" and len(words) > 1:
            check_call(words, stock_commands())


@by_page
def test_scripts_targets_and_extras_exist(page):
    targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    for words in commands(page):
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= set(targets), words
        if words[0] in ("python", "python3") and words[1].endswith(".py"):
            assert (REPOSITORY / words[1]).is_file(), words
        if words[:2] == ["pip", "install"]:
            extras = re.findall(r"(?:^\.|clipgpt-retrieval)\[([\w,]+)\]", " ".join(words[2:]), re.MULTILINE)
            assert {extra for names in extras for extra in names.split(",")} <= set(setup["options.extras_require"])
    text = page.read_text(encoding="utf-8")
    for script in re.findall(r"`(?:python )?((?:benchmarks|examples)/\w+\.py)`", text):
        assert (REPOSITORY / script).is_file(), script


@by_page
def test_python_names_exist(page):
    for block in blocks(page):
        if block.language != "python":
            continue
        tree = ast.parse(block.text)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clipgpt_retrieval"):
                module = importlib.import_module(node.module)
                assert all(getattr(module, alias.name) for alias in node.names)
            if isinstance(node, ast.Call):
                check_keywords(node)


METHODS_OF = {"client": "ClipGptClient", "model": "ClipGpt", "cg": None}
"""The types of the names in snippets."""


def check_keywords(call: ast.Call) -> None:
    """A call of this package in a snippet has valid keywords.

    Raises:
        AssertionError: it has no such method or keyword.
    """
    import clipgpt_retrieval as cg

    function: object
    if isinstance(call.func, ast.Name) and call.func.id == "ClipGptClient":
        return
    if not (isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)):
        return
    owner = call.func.value.id
    if owner not in METHODS_OF:
        return
    function = getattr(getattr(cg, METHODS_OF[owner]) if METHODS_OF[owner] else cg, call.func.attr)
    if inspect.isclass(function):
        return
    parameters = inspect.signature(function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    names = {keyword.arg for keyword in call.keywords if keyword.arg}
    assert takes_any or names <= set(parameters), f"{owner}.{call.func.attr} does not take all of {names}"


TO_RUN = [page for page in PAGES if any(block.mark == RUN for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", TO_RUN, ids=names_of_pages(TO_RUN))
def test_blocks_marked_for_the_demo_run(page, tmp_path):
    """The blocks of a page run in order, in one namespace."""
    marked = [block for block in blocks(page) if block.mark == RUN]
    assert {block.language for block in marked} == {"python"}
    program = "\n".join(block.text for block in marked)
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_an_unknown_command_is_found():
    for wrong in ("clipgpt-retrieval trian a b", "clipgpt-retrieval train a b --recipee frozen"):
        with pytest.raises(AssertionError):
            check_call(shlex.split(wrong), own_commands())
    with pytest.raises(TypeError, match="model"):
        check_call(shlex.split("clipgpt-retrieval evaluate a"), own_commands())
