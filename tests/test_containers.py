"""As in a container: a user id without an account, and no home folder."""

import os
import sys
from pathlib import Path

import pytest
from support import run

WITHOUT_HOME = """
import os, sys
import clipgpt_retrieval.storage as storage
os.environ.pop("HOME", None)
os.environ.pop("XDG_CACHE_HOME", None)
if sys.argv[1] != "0":
    os.environ["HOME"] = sys.argv[1]
os.setuid(54321)
first = storage.cache_folder()
first.mkdir(exist_ok=True)
assert storage.cache_folder() == first
print(first)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("home", ["0", "/nonexistent", "/proc"])
def test_without_a_home_folder_the_cache_is_temporary(home):
    """It ended in a RuntimeError, or in an error of permissions."""
    done = run(sys.executable, "-c", WITHOUT_HOME, home, check=True)
    assert "clipgpt_retrieval-" in done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout.strip() in done.stderr and "XDG_CACHE_HOME" in done.stderr
    assert not Path(done.stdout.strip()).exists()


def test_a_cache_that_is_given_is_used(monkeypatch, tmp_path):
    from clipgpt_retrieval.storage import cache_folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "clipgpt_retrieval"
