"""The flags of a command, declared once as the fields of a dataclass.

The command's signature, its ``--help``, its part of docs/reference/command_line.md and, by `dataclasses.asdict`, what
a JSON file records of it all come from there.
"""

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, field, fields
from inspect import Parameter
from typing import Any, get_type_hints


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A field of a dataclass of options.

    Args:
        default: value of the flag where it is not given; `dataclasses.MISSING` makes the flag required.
        help: its description, on one line.
        **metadata: further metadata of the field.
    """
    return field(default=default, metadata={"help": help, **metadata})


def option_parameters(options: type) -> list[Parameter]:
    """The fields of a dataclass as parameters with their defaults and annotations, in the order of `option_fields`.

    Those of a ``kw_only`` field are keyword-only; others may be given by position, too.
    """
    types = get_type_hints(options)
    return [
        Parameter(
            flag.name,
            Parameter.KEYWORD_ONLY if flag.kw_only else Parameter.POSITIONAL_OR_KEYWORD,
            default=Parameter.empty if flag.default is MISSING else flag.default,
            annotation=types[flag.name],
        )
        for flag in option_fields(options)
    ]


def option_fields(options: type) -> list[Field]:
    """The fields of a dataclass in their order, ``kw_only`` ones last, as in its ``__init__``."""
    return sorted(fields(options), key=lambda flag: bool(flag.kw_only))


def option_help(flags: Iterable[Field]) -> str:
    """The entries of fields made by `option` in the ``Args`` section of a docstring."""
    return "\n".join(f"    {flag.name}: {flag.metadata['help']}" for flag in flags)


def takes_options(options: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Turns a function of one instance of ``options`` into a command with a flag for each of its fields.

    The function takes the instance as its only parameter, or as the keyword argument ``options`` after ``*names``
    of its own, whose description then ends its docstring as ``Args``; all flags are keyword-only in this case.

    Args:
        options: dataclass with fields made by `option`.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class GreetOptions:
        ...     name: str = option("you", "whom to greet.")
        >>> @takes_options(GreetOptions)
        ... def greet(options: GreetOptions) -> None:
        ...     "Prints a greeting."
        ...     print(f"Hello, {options.name}.")
        >>> greet(name="Ann")
        Hello, Ann.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        taken = inspect.signature(function, eval_str=True).parameters.values()
        own = [each for each in taken if each.kind is each.VAR_POSITIONAL]

        @functools.wraps(function)
        def command(*arguments: Any, **flags: Any) -> Any:
            return function(*arguments, options=options(**flags)) if own else function(options(*arguments, **flags))

        flags = option_parameters(options)
        if own:
            flags = [flag.replace(kind=Parameter.KEYWORD_ONLY) for flag in flags]
        command.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
        command.__doc__ = _with_args(inspect.getdoc(function) or "", options)
        return command

    return decorate


def _with_args(description: str, options: type) -> str:
    heading = "" if "\nArgs:\n" in description else "\n\nArgs:"
    return f"{description}{heading}\n{option_help(option_fields(options))}"
