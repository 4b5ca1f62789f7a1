"""Command lines: checked against the signature of their command before it runs, and the help of a command.

Fire, which parses them, runs a command first and complains about unknown flags afterwards.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any

from clipgpt_retrieval.errors import ClipGptError

PROGRAM = "clipgpt-retrieval"

_FLAG = re.compile(r"--|-[a-zA-Z]")  # what fire takes for a flag


def check_arguments(name: str, command: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Checks the arguments of a command as fire would parse them.

    Args:
        name: name of the command.
        command: its function.
        arguments: what was typed after its name.

    Raises:
        ClipGptError: an unknown flag, a flag without its value, an argument too many, or a missing one.
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    given, positional = _parsed(parameters, arguments)
    free = [each.name for each in parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
    free = [each for each in free if each not in given]
    takes_any = any(each.kind is each.VAR_POSITIONAL for each in parameters.values())
    if len(positional) > len(free) and not takes_any:
        message = f"{name} has no use for {positional[len(free)]!r}: quote a text with spaces, and name flags in full"
        raise ClipGptError(f"{message}; {PROGRAM} {name} --help lists them")
    for each in parameters.values():
        required = each.default is each.empty and each.kind is not each.VAR_POSITIONAL
        if required and each.name not in given and each.name not in free[: len(positional)]:
            raise ClipGptError(f"{each.name} is missing: {PROGRAM} {name} {usage(command)}")


def _parsed(parameters: Mapping[str, Parameter], arguments: Sequence[str]) -> tuple[set[str], list[str]]:
    """The names of the flags that are given, and the arguments without a name."""
    given, positional = set(), []
    waiting = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    while waiting:
        argument = waiting.pop(0)
        if not _FLAG.match(argument):
            positional.append(argument)
            continue
        typed, equals, _ = argument.partition("=")
        has_value = bool(equals) or (bool(waiting) and not _FLAG.match(waiting[0]))
        flag = parameters[_known_flag(typed, parameters, negated=not has_value)]
        if not has_value and flag.annotation is not bool:
            raise ClipGptError(f"{typed} has no value: give {typed}={flag.name.upper()}")
        if has_value and not equals:
            waiting.pop(0)
        given.add(flag.name)
    return given, positional


def _known_flag(typed: str, parameters: Mapping[str, Parameter], *, negated: bool) -> str:
    key = typed.lstrip("-").replace("-", "_")
    known = [each.name for each in parameters.values() if each.kind is not each.VAR_POSITIONAL]
    if negated and key not in known and key.removeprefix("no") in known:
        return key.removeprefix("no")
    found = flag_name(key, known)
    if found is None:
        raise unknown_flag(typed, known)
    return found


def flag_name(typed: str, known: Sequence[str]) -> str | None:
    """The flag of a name, or of its first letter if only one flag begins with it; None where there is none."""
    if typed in known:
        return typed
    by_letter = [name for name in known if name[0] == typed]
    return by_letter[0] if len(by_letter) == 1 else None


def unknown_flag(typed: str, known: Sequence[str]) -> ClipGptError:
    """The error of a flag that does not exist, with the nearest that does.

    Examples:
        >>> str(unknown_flag("--modle", ["model", "index"]))
        '--modle is not a flag of this command: did you mean --model?'
    """
    near = nearest(typed.lstrip("-").replace("-", "_"), known)
    advice = f"did you mean --{near}?" if near else "--help lists its flags"
    return ClipGptError(f"{typed} is not a flag of this command: {advice}")


def nearest(typed: str, known: Sequence[str]) -> str | None:
    """The name that is spelled most similarly, or None where none is similar."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(typed, known, n=1)), None)


def usage(command: Callable[..., Any], optional: Sequence[str] = ()) -> str:
    """The arguments of a command in one line.

    Args:
        command: its function.
        optional: parameters with a default that are commonly given without their names.
    """
    parts = []
    for each in inspect.signature(command).parameters.values():
        if each.kind is each.VAR_POSITIONAL:
            parts.append(f"[{each.name.upper()} ...]")
        elif each.name in optional:
            parts.append(each.name.upper())
        elif each.default is each.empty and each.kind is not each.VAR_KEYWORD:
            parts.append(f"--{each.name} {each.name.upper()}" if each.kind is each.KEYWORD_ONLY else each.name.upper())
    return " ".join(parts)


def command_help(title: str, command: Callable[..., Any], optional: Sequence[str] = ()) -> str:
    """The help of a command: its usage, its description, and each flag with its default and description.

    Args:
        title: program and name of the command.
        command: its function, with a docstring that describes its parameters.
        optional: see `usage`.
    """
    from fire.docstrings import parse

    documentation = inspect.getdoc(command) or ""
    described = {each.name.lstrip("*"): each.description for each in parse(documentation).args or []}
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    flags = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    usage_line = f"{title} {usage(command, optional)}".rstrip() + (" [FLAGS]" if flags else "")
    lines = [usage_line, "", documentation.partition("\nArgs:\n")[0].rstrip()]
    if flags:
        lines += ["", "Flags:", *(line for each in flags for line in _flag_help(each, described.get(each.name, "")))]
    return "\n".join(lines)


def _flag_help(flag: Parameter, description: str) -> list[str]:
    import textwrap

    shown = flag.name.upper() if flag.default in (flag.empty, None, "") else _shown(flag.default)
    required = " (required)" if flag.default is flag.empty else ""
    return [
        f"  --{flag.name}={shown}{required}",
        *textwrap.wrap(description, 100, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]


def _shown(default: Any) -> str:
    return ",".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
