"""data/ and metrics/ import neither torch nor transformers: they know no model and load in a fraction of a second."""

import pkgutil
import subprocess
import sys

import clipgpt_retrieval.data
import clipgpt_retrieval.metrics

MODULES = [
    module.name
    for package in (clipgpt_retrieval.data, clipgpt_retrieval.metrics)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]

CHECK = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    heavy = {"torch", "transformers"} & sys.modules.keys()
    assert not heavy, f"{name} imports {heavy}"
"""


def test_no_module_imports_a_model_library():
    assert len(MODULES) > 10
    done = subprocess.run([sys.executable, "-c", CHECK, *MODULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
