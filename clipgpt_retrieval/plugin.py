"""The plugin seam: `enable`, `disable`, `status`, and the one import hook behind them.

`enable` writes one ``.pth`` file, by which every Python process of the environment installs the hook when it starts.
The hook acts on the import of the modules of clip-retrieval's commands that serve, ``clip_back``, ``clip_end2end`` and
``clip_front``, and replaces in each the function that the command runs. Since every Python process imports this module,
it imports nothing but `sys` and `host` at module level.
"""

from __future__ import annotations

import sys

from clipgpt_retrieval.host import spec_with

OTHER_FLAGS = "other_flags"
"""The parameter of `with_clipgpt`'s replacement that collects unknown flags, all of which are refused."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType
    from typing import Any

PTH_NAME = "zz_clipgpt_retrieval.pth"
"""Python reads .pth files in alphabetical order: this one comes after those of editable installs."""

# A line of a .pth file is executed if it begins with "import". It has no effect once the package is uninstalled.
PTH_LINE = (
    'import sys; exec("try:\\n import clipgpt_retrieval.plugin as plugin\\n'
    'except ImportError:\\n pass\\nelse:\\n plugin.install_import_hook()")\n'
)


def enable() -> str:
    """Enables CLIP-GPT for `clip-retrieval back` in this Python environment.

    Returns:
        The new `status`.

    Raises:
        ClipGptError: the environment's site-packages folder is not writable.
    """
    import os

    pth_file = _writable_site_folder() / PTH_NAME
    # Renamed into place, so that a Python process that starts now does not read half a line.
    temporary = pth_file.with_name(f"{PTH_NAME}.{os.getpid()}")
    temporary.write_text(PTH_LINE, encoding="ascii")
    temporary.replace(pth_file)
    return status()


def disable() -> str:
    """Disables the plugin; has no effect where it is not enabled.

    Returns:
        The new `status`.

    Raises:
        ClipGptError: the file that `enable` wrote cannot be removed.
    """
    from clipgpt_retrieval.errors import ClipGptError

    for pth_file in enabled_files():
        try:
            pth_file.unlink()
        except OSError as error:
            raise ClipGptError(f"cannot remove {pth_file}: {error.strerror}") from error
    return status()


def status() -> str:
    """One line: whether the plugin is enabled, by which file, and the versions of both packages."""
    from importlib.metadata import PackageNotFoundError, version

    def named(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} (not installed)"

    packages = f"{named('clipgpt-retrieval')}, {named('clip-retrieval')}"
    enabled = enabled_files()
    if not enabled:
        return f"disabled ({packages})"
    return f"enabled by {', '.join(map(str, enabled))} ({packages})"


def install_import_hook() -> None:
    """Replaces clip-retrieval's web commands by ours when this process imports them."""
    if CommandFinder not in sys.meta_path:
        sys.meta_path.insert(0, CommandFinder)


class CommandFinder:
    """A meta-path finder for the modules in `REPLACEMENTS`.

    Not derived from `importlib.abc.MetaPathFinder`, whose import would cost every Python start milliseconds.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec that the later finders return for the module, with a loader that also replaces the command."""
        if name not in REPLACEMENTS:
            return None
        return spec_with(CommandFinder, _replace_after_loading, name, path, target)


def _replace_after_loading(module: ModuleType, load: Callable[[ModuleType], None]) -> None:
    load(module)
    command = module.__name__.rpartition(".")[2]  # each of these modules has the name of its command
    setattr(module, command, REPLACEMENTS[module.__name__](getattr(module, command)))


def with_clipgpt(stock: Callable[..., None]) -> Callable[..., None]:
    """clip-retrieval's `clip_back` with our flags in addition to its own; a `ClipGptError` ends it with its message.

    Args:
        stock: upstream's function; it is called unchanged where neither the flag ``clipgpt_model`` nor the
            indices JSON names a clipgpt model.
    """
    import functools
    import inspect

    from clipgpt_retrieval.back.options import own_flags_help, own_parameters

    stock_signature = inspect.signature(stock)
    parameters = [*stock_signature.parameters.values(), *own_parameters()]
    # Fire passes unknown flags only to a command that takes any; else it would serve without them.
    others = inspect.Parameter(OTHER_FLAGS, inspect.Parameter.VAR_KEYWORD)
    signature = stock_signature.replace(parameters=[*parameters, others])
    defaults = {each.name: each.default for each in parameters}

    @functools.wraps(stock)
    def clip_back(*args: Any, **kwargs: Any) -> None:
        from clipgpt_retrieval.errors import ClipGptError
        from clipgpt_retrieval.flags import command_help

        if "help" in kwargs or "h" in kwargs:
            print(command_help("clip-retrieval back", clip_back))
            return None
        try:
            # Fire gives defaults by position, so that a flag given by its first letter may be among them.
            flags = defaults | signature.bind_partial(*args).arguments | _in_full(kwargs, list(defaults))
            given = {name: value for name, value in flags.items() if value != defaults[name]}
            if _names_clipgpt_model(flags):
                from clipgpt_retrieval.back.server import serve

                return serve(**given)
            _refuse_unused_flags(given)
        except ClipGptError as error:
            print(f"clip-retrieval back: {error}", file=sys.stderr)
            sys.exit(2)
        return stock(**given)

    clip_back.__signature__ = signature  # type: ignore[attr-defined]
    clip_back.__doc__ = f"{stock.__doc__ or ''}\n\n{own_flags_help()}"
    _take_texts_as_typed(clip_back)
    return clip_back


def _take_texts_as_typed(command: Callable[..., None]) -> None:
    """Makes fire pass texts of our flags as typed: it would read the key "key#1" as "key", and "None" as none."""
    from fire.decorators import SetParseFn

    from clipgpt_retrieval.back.options import own_parameters

    SetParseFn(str, *(each.name for each in own_parameters() if each.annotation in (str, str | None)))(command)


def with_clipgpt_at_its_end(stock: Callable[..., None]) -> Callable[..., None]:
    """clip-retrieval's `clip_end2end`, which ends by serving its index, with the flags of `back` for that.

    Args:
        stock: upstream's function; it is called unchanged where none of these flags is given.
    """
    import functools
    import inspect

    from clip_retrieval.clip_back import clip_back

    own = list(inspect.signature(stock).parameters.values())
    of_back = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(clip_back).parameters.values()
        if each.name not in ("indices_paths", OTHER_FLAGS)
    ]
    others = inspect.Parameter(OTHER_FLAGS, inspect.Parameter.VAR_KEYWORD)

    @functools.wraps(stock)
    def clip_end2end(url_list: Any, output_folder: str, run_back: bool = True, **back_flags: Any) -> None:
        from clipgpt_retrieval.errors import ClipGptError

        try:
            flags = _in_full(back_flags, [each.name for each in of_back])
            _check_before_the_job(flags)
        except ClipGptError as error:
            print(f"clip-retrieval end2end: {error}", file=sys.stderr)
            sys.exit(2)
        if not flags:
            return stock(url_list, output_folder, run_back)
        stock(url_list, output_folder, run_back=False)
        if run_back:
            clip_back(indices_paths=f"{output_folder}/indices_paths.json", **flags)
        return None

    clip_end2end.__signature__ = inspect.Signature([*own, *of_back, others])  # type: ignore[attr-defined]
    clip_end2end.__doc__ = f"{stock.__doc__ or ''}\n\nThe further flags are those of back, which serves at the end."
    _take_texts_as_typed(clip_end2end)
    return clip_end2end


def _check_before_the_job(back_flags: dict[str, Any]) -> None:
    """Checks flags of `back` that are used only when images have been downloaded and embedded.

    Raises:
        ClipGptError: a value that is not valid, a model that cannot be found, or flags without a model.
    """
    from clipgpt_retrieval.back.options import BackOptions
    from clipgpt_retrieval.model.resolve import read_config

    if back_flags.get("clipgpt_model") is None:
        _refuse_unused_flags(back_flags)
        return
    BackOptions(**back_flags)
    read_config(back_flags["clipgpt_model"])


def with_front_patch(stock: Callable[..., None]) -> Callable[..., None]:
    """clip-retrieval's `clip_front` with the front patch in the page that it serves.

    Args:
        stock: upstream's function; the replacement has the same flags and port.
    """
    import functools

    @functools.wraps(stock)
    def clip_front(
        default_backend: str | None = None, default_index: str | None = None, url_column: str = "url"
    ) -> None:
        from clip_retrieval.clip_front import add_static_endpoints
        from flask import Flask

        from clipgpt_retrieval.front_patch import add_front_patch

        app = Flask("clip_front", static_folder=None)
        add_static_endpoints(app, default_backend, default_index, url_column)
        add_front_patch(app)
        app.run(host="0.0.0.0", port=1235, debug=False)

    return clip_front


def _in_full(flags: dict[str, Any], known: list[str]) -> dict[str, Any]:
    """The flags with their full names, where their first letter was given as fire allows.

    Raises:
        ClipGptError: a flag that does not exist.
    """
    from clipgpt_retrieval.flags import flag_name, unknown_flag

    for name in flags:
        if flag_name(name, known) is None:
            raise unknown_flag(f"--{name}", known)
    return {flag_name(name, known) or name: value for name, value in flags.items()}


REPLACEMENTS = {
    "clip_retrieval.clip_back": with_clipgpt,
    "clip_retrieval.clip_end2end": with_clipgpt_at_its_end,
    "clip_retrieval.clip_front": with_front_patch,
}
"""By module of a stock command: the function that returns our replacement of it."""


def _names_clipgpt_model(flags: dict[str, Any]) -> bool:
    import json
    from pathlib import Path

    if flags["clipgpt_model"] is not None:
        return True
    try:
        indices = json.loads(Path(flags["indices_paths"]).expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False  # upstream reports the error
    entries = indices.values() if isinstance(indices, dict) else []
    return any(isinstance(entry, dict) and entry.get("clipgpt_model") for entry in entries)


def _refuse_unused_flags(given: dict[str, Any]) -> None:
    from clipgpt_retrieval.back.options import own_parameters
    from clipgpt_retrieval.errors import InputError

    for parameter in own_parameters():
        if parameter.name in given:
            raise InputError(
                parameter.name,
                "has no effect without a clipgpt model: give --clipgpt_model, or a model in the indices JSON",
            )


def _site_folders() -> list[Path]:
    """The folders in which this environment reads .pth files: its site-packages, then the user's if enabled."""
    import site
    import sysconfig
    from pathlib import Path

    user = [Path(site.getusersitepackages())] if site.ENABLE_USER_SITE else []
    return [Path(sysconfig.get_path("purelib")), *user]


def enabled_files() -> list[Path]:
    """The files that enable the plugin in this environment; none where it is disabled."""
    return [folder / PTH_NAME for folder in _site_folders() if (folder / PTH_NAME).is_file()]


def _writable_site_folder() -> Path:
    import os

    from clipgpt_retrieval.errors import ClipGptError

    folders = _site_folders()
    for folder in folders:
        if os.access(folder, os.W_OK):
            return folder
    raise ClipGptError(f"cannot write to {folders[0]}: run enable as a user who can, or in a virtual environment")
