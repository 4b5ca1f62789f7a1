"""What fails once may succeed a moment later: a bucket, a network, a device."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from clipgpt_retrieval.errors import ClipGptError, DataError

Result = TypeVar("Result")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What no retry mends, and no other shard escapes."""

LONGEST_PAUSE = 30.0


class StorageFullError(DataError):
    """Nothing more can be written: the whole job stops."""


def retried(call: Callable[[], Result], retries: int) -> Result:
    """The result of ``call``, tried again up to ``retries`` times with growing pauses.

    Raises:
        StorageFullError: at once, where the output has no room left or cannot be written to.
        ClipGptError: at once, as what the user must put right does not change by waiting.
        Exception: the last one.
    """
    for attempt in range(retries + 1):
        try:
            return call()
        except ClipGptError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise StorageFullError(
                    f"output_folder: nothing more can be written ({error.strerror}): make room, then run the same "
                    "command again"
                ) from error
            if attempt == retries:
                raise
            time.sleep(min(0.1 * 4**attempt, LONGEST_PAUSE))
    raise AssertionError("unreachable")
