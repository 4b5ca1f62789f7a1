"""The GitHub workflows are valid and request no more permissions than they need."""

import pytest
from support import BIN, REPOSITORY, run

GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted(str(file) for file in (GITHUB / "workflows").glob("*.yml"))


@pytest.mark.parametrize(
    "linter",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
        ["zizmor", "--offline", "--config", str(GITHUB / "zizmor.yml")],
    ],
    ids=["schema", "security"],
)
def test_workflows_are_valid(linter):
    assert len(WORKFLOWS) == 3
    run(BIN / linter[0], *linter[1:], *WORKFLOWS, check=True)
