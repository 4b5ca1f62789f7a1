"""The notebooks run from the first cell to the last, on the demo."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_to_image_space", "what_is_in_this_index"])
def test_notebook_runs(name, tmp_path):
    # A pytest of its own: nbmake would otherwise collect every notebook of the repository.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", "--nbmake-timeout=900"]
    notebook = NOTEBOOKS / f"{name}.ipynb"
    finished = subprocess.run(
        [*command, str(notebook)], cwd=tmp_path, capture_output=True, text=True, timeout=1200, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "1 passed" in finished.stdout


@pytest.mark.parametrize(("name", "images"), [("text_to_image_space", 18), ("what_is_in_this_index", 7)])
def test_notebook_has_its_images_as_outputs(name, images):
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == images


def test_other_notebooks_state_that_they_need_a_network():
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        if notebook.stem not in ("text_to_image_space", "what_is_in_this_index"):
            assert "needs a network" in notebook.read_text(encoding="utf-8"), notebook.name
