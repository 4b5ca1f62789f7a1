"""Retries of what may fail temporarily: storage, network, device."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from clipgpt_retrieval.errors import ClipGptError, DataError
from clipgpt_retrieval.storage import is_full

Result = TypeVar("Result")

MAX_WAIT = 30.0
"""Seconds between two attempts, at most."""


class StorageFullError(DataError):
    """Nothing more can be written: the whole job stops."""


def retried(call: Callable[[], Result], retries: int) -> Result:
    """The result of ``call``, retried up to ``retries`` times with exponential back-off: 0.1, 0.4, ... 30 s.

    Raises:
        StorageFullError: at once, if the output storage is full or read-only.
        ClipGptError: at once, as only the user can correct it.
        Exception: that of the last attempt.
    """
    retrying = Retrying(
        retry=retry_if_exception(_may_be_temporary),
        stop=stop_after_attempt(retries + 1),
        wait=wait_exponential(multiplier=0.1, exp_base=4, max=MAX_WAIT),
        reraise=True,
    )
    try:
        return retrying(call)
    except OSError as error:
        if not is_full(error):
            raise
        message = f"output_folder: nothing more can be written ({error.strerror or error}): free some space"
        raise StorageFullError(f"{message}, then run the same command again") from error


def _may_be_temporary(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, ClipGptError) and not is_full(error)
