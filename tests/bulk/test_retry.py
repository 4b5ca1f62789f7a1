"""What is retried, what is not, and how long the back-off is."""

import errno

import pytest

from clipgpt_retrieval.bulk.retry import StorageFullError, retried
from clipgpt_retrieval.errors import DataError


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Seconds that would be waited between attempts."""
    seconds = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


def failing(*errors: BaseException):
    """A call that raises each of the errors in turn, then returns 7."""
    left = iter(errors)

    def call() -> int:
        for error in left:
            raise error
        return 7

    return call


def test_temporary_errors_are_retried_with_bounded_back_off(waits):
    assert retried(failing(*[ConnectionError("reset")] * 7), 7) == 7
    assert waits == pytest.approx([0.1, 0.4, 1.6, 6.4, 25.6, 30.0, 30.0])


def test_the_error_of_the_last_attempt_is_raised(waits):
    with pytest.raises(OSError, match="third"):
        retried(failing(OSError("first"), OSError("second"), OSError("third")), 2)
    assert len(waits) == 2


@pytest.mark.parametrize("error", [DataError("no index"), KeyboardInterrupt()])
def test_errors_of_the_user_are_not_retried(error, waits):
    with pytest.raises(type(error)):
        retried(failing(error), 3)
    assert waits == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_full_storage_stops_at_once(number, waits):
    with pytest.raises(StorageFullError, match=r"nothing more can be written \(.*\): free some space"):
        retried(failing(OSError(number, "full")), 3)
    assert waits == []
