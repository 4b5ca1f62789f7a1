"""What clip-retrieval needs on current libraries: it runs without pkg_resources, and beside numpy 2."""

import json
import sys

import numpy as np
from autofaiss.metrics import reconstruction
from support import run

WITHOUT_PKG_RESOURCES = """
import sys, warnings
warnings.simplefilter("error", UserWarning)

class Refused:
    def find_spec(name, path=None, target=None):
        if name == "pkg_resources":
            raise ModuleNotFoundError("No module named 'pkg_resources'", name=name)

sys.meta_path.insert(0, Refused)
import clipgpt_retrieval
"""


def test_clip_retrieval_runs_where_setuptools_has_no_pkg_resources():
    """It has none from release 81 on; the real one of earlier releases warns at each start."""
    program = f"""{WITHOUT_PKG_RESOURCES}
import clip
from clip_retrieval.clip_front import add_static_endpoints
from flask import Flask

app = Flask("front", static_folder=None)
add_static_endpoints(app)
page = app.test_client().get("/")
print(page.status_code, b"<script" in page.data, "pkg_resources" in sys.modules)
"""
    assert run(sys.executable, "-c", program, check=True).stdout.split() == ["200", "True", "False"]


def test_other_packages_see_the_environments_pkg_resources():
    """A package that gets along without it must not get a part of it."""
    program = f"""{WITHOUT_PKG_RESOURCES}
import clip
try:
    import pkg_resources
except ImportError:
    print("not found")
"""
    assert run(sys.executable, "-c", program, check=True).stdout == "not found\n"


def test_a_measured_index_is_written_as_json():
    """autofaiss multiplies a numpy scalar, which stays one in numpy 2: `clip-retrieval index` ended in a traceback."""
    rows = np.ones((3, 4), np.float32)
    assert json.dumps(100 * reconstruction.reconstruction_error(rows, rows / 2))
