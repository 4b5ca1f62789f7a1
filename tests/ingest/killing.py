"""Runs a function in a process that is killed by SIGKILL at a chosen access to the file system."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")

_CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, by the process that all others are forked from.
_CONTEXT.set_forkserver_preload(["clipgpt_retrieval.ingest.add"])


def killed_at_each_access(
    folder: str, function: Callable[..., Any], *arguments: Any, start: int = 0, step: int = 1
) -> Iterator[int]:
    """Runs a function again and again, killed ``step`` accesses to files in ``folder`` later each time.

    Yields:
        The number of the access, after each run that was killed; ends with the first that was not.
    """
    number = start
    while True:
        process = _CONTEXT.Process(target=_run, args=(folder, number, function, arguments))
        process.start()
        process.join(120)
        if process.exitcode == 0:
            return
        assert process.exitcode == -signal.SIGKILL, f"access {number} ended with {process.exitcode}"
        yield number
        number += step


def _run(folder: str, number: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in EVENTS and str(arguments[0]).startswith(folder):
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(count)
    function(*arguments)
