"""Extension of griffe: shows a command with the flags that `takes_options` reads from a dataclass."""

import inspect
from typing import Any

import griffe


class CommandSignatures(griffe.Extension):
    """Takes the signature and the docstring of such a command from the imported function: griffe reads source only."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        if not any(str(decorator.value).startswith("takes_options(") for decorator in func.decorators):
            return
        command = griffe.dynamic_import(func.path)
        func.parameters = griffe.Parameters(*map(_parameter, inspect.signature(command).parameters.values()))
        func.docstring = griffe.Docstring(inspect.getdoc(command) or "", parent=func)


def _parameter(flag: inspect.Parameter) -> griffe.Parameter:
    return griffe.Parameter(
        flag.name,
        annotation=None if flag.annotation is flag.empty else inspect.formatannotation(flag.annotation),
        kind=griffe.ParameterKind(flag.kind.description),
        default=None if flag.default is flag.empty else repr(flag.default),
    )
