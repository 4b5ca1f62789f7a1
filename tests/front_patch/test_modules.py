"""The page's modules that need no page, under node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node: apt-get install nodejs")
@pytest.mark.skipif(not (REPOSITORY / "node_modules").is_dir(), reason="fast-check is missing: run npm ci")
def test_node_s_own_tests_pass():
    tests = sorted(str(file) for file in (REPOSITORY / "tests" / "front_patch").glob("*.test.mjs"))
    finished = subprocess.run(["node", "--test", *tests], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout
    assert "# tests 0" not in finished.stdout
