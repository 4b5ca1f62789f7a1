"""The command line: every command of ``clipgpt-retrieval``."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from inspect import Parameter, getdoc, signature
from typing import Any

import clipgpt_retrieval
from clipgpt_retrieval.errors import ClipGptError
from clipgpt_retrieval.flags import PROGRAM, check_arguments, command_help, nearest

HELP = ("-h", "--help")

WITHOUT_NAMES = {"train": ("embeddings_folder", "output_folder"), "caption": ("embeddings",)}
"""Flags with a default that are commonly given without their names, for the help of a command."""


def enable() -> None:
    """Enables the plugin: `clip-retrieval back --clipgpt_model MODEL` then uses CLIP-GPT."""
    from clipgpt_retrieval.plugin import enable as run

    print(run())


def disable() -> None:
    """Disables the plugin: clip-retrieval is as before `enable`."""
    from clipgpt_retrieval.plugin import disable as run

    print(run())


def status() -> None:
    """Prints whether the plugin is enabled, and by which file."""
    from clipgpt_retrieval.plugin import status as run

    print(run())


def commands() -> dict[str, Callable[..., Any]]:
    """The commands by name."""
    from clipgpt_retrieval.back import serve
    from clipgpt_retrieval.bench.command import bench
    from clipgpt_retrieval.bulk.command import caption, encode
    from clipgpt_retrieval.demo.command import demo
    from clipgpt_retrieval.doctor import doctor
    from clipgpt_retrieval.evaluation.command import evaluate
    from clipgpt_retrieval.explore.command import explore
    from clipgpt_retrieval.ingest.command import add, delete, load
    from clipgpt_retrieval.model.command import convert
    from clipgpt_retrieval.start.command import start
    from clipgpt_retrieval.training.command import train

    found: dict[str, Callable[..., Any]] = {
        "demo": demo,
        "start": start,
        "back": serve,
        "enable": enable,
        "disable": disable,
        "status": status,
        "doctor": doctor,
        "train": train,
        "evaluate": evaluate,
        "encode": encode,
        "caption": caption,
        "explore": explore,
        "load": load,
        "add": add,
        "delete": delete,
        "bench": bench,
        "convert": convert,
    }
    for command in found.values():
        _take_texts_as_typed(command)
    return found


def _take_texts_as_typed(command: Callable[..., Any]) -> None:
    """Makes fire pass texts and names as typed: it would parse "cat, dog" as a tuple and 2024 as a number."""
    from fire.decorators import SetParseFn
    from fire.parser import DefaultParseValue

    parameters = signature(command, eval_str=True).parameters.values()
    texts = {each.name: each for each in parameters if each.annotation in (str, str | None)}
    if any(text.kind is Parameter.VAR_POSITIONAL for text in texts.values()):
        # Positional arguments have no name: fire parses them with the default function.
        SetParseFn(str)(command)
        SetParseFn(DefaultParseValue, *(each.name for each in parameters if each.name not in texts))(command)
    elif texts:
        SetParseFn(str, *texts)(command)


def main() -> None:
    """Runs a command. A `ClipGptError` is printed as one line, with exit status 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # as standard error has it; names of files need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _run(sys.argv[1:])
        sys.stdout.flush()
    except ClipGptError as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # A reader such as `| head` has closed the pipe. Python would flush once more at exit, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # the exit status of a process that SIGPIPE ended


def _run(arguments: Sequence[str]) -> None:
    known = commands()
    if not arguments or arguments[0] in (*HELP, "help"):
        print(_overview(known))
        return
    if arguments[0] == "--version":
        print(f"{PROGRAM} {clipgpt_retrieval.__version__}")
        return
    name, *rest = arguments
    if name not in known:
        near = nearest(name, list(known))
        advice = f"did you mean {near}?" if near else f"{PROGRAM} --help lists the commands"
        raise ClipGptError(f"there is no command {name!r}: {advice}")
    if any(argument in HELP for argument in rest):
        print(command_help(f"{PROGRAM} {name}", known[name], WITHOUT_NAMES.get(name, ())))
        return
    check_arguments(name, known[name], rest)
    import fire

    fire.Fire(known[name], command=rest, name=f"{PROGRAM} {name}")


def _overview(known: dict[str, Callable[..., Any]]) -> str:
    lines = [f"{PROGRAM} COMMAND [ARGUMENTS]", "", "Commands:"]
    lines += [f"  {name:10} {(getdoc(command) or '').partition(chr(10))[0]}" for name, command in known.items()]
    return "\n".join(
        [*lines, "", f"{PROGRAM} COMMAND --help describes a command, {PROGRAM} --version prints the version."]
    )


def _fail(message: str) -> int:
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
