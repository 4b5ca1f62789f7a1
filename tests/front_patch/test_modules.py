"""The JavaScript modules that need no page, under node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

FRONT_PATCH = Path(__file__).parents[2] / "front_patch"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is missing: apt-get install nodejs")
@pytest.mark.skipif(not (FRONT_PATCH / "node_modules").is_dir(), reason="fast-check is missing: make lint-front")
def test_the_javascript_unit_tests_pass():
    tests = sorted(str(file) for file in (FRONT_PATCH / "tests").glob("*.test.mjs"))
    finished = subprocess.run(["node", "--test", *tests], cwd=FRONT_PATCH, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout
    assert "# tests 0" not in finished.stdout
