"""The workflows of GitHub: a typing error in them is found here and not at the release."""

import subprocess
import sys
from pathlib import Path

import pytest

GITHUB = Path(__file__).parents[2] / ".github"
WORKFLOWS = sorted(str(file) for file in (GITHUB / "workflows").glob("*.yml"))
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "linter",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
        ["zizmor", "--offline", "--config", str(GITHUB / "zizmor.yml")],
    ],
    ids=["schema", "security"],
)
def test_workflows_are_what_github_reads_and_grant_no_more_than_they_need(linter):
    assert len(WORKFLOWS) == 3
    finished = subprocess.run([BIN / linter[0], *linter[1:], *WORKFLOWS], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
