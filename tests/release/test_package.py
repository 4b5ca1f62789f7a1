"""Wheel and sdist contain every file that the package reads, and work in an environment without the repository."""

import configparser
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from support import REPOSITORY, run

ROOTS = {"clipgpt_retrieval": "clipgpt_retrieval", "front_patch": "clipgpt_retrieval/front_patch"}
"""Folders of the repository, and where the wheel has them."""


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg")
    return parser


def tracked_files() -> list[str]:
    return run("git", "ls-files", cwd=REPOSITORY, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the sdist, which is built from the tracked files alone."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked_files():
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((REPOSITORY / name).read_bytes())
    # Without isolation: setuptools is one of the package's own requirements, so nothing is fetched.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source, check=True)
    [built] = dist.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_tracked_file_of_the_package_and_no_other(wheel):
    expected = set()
    for name in tracked_files():
        root, _, rest = name.partition("/")
        is_js_tool = root == "front_patch" and "static/" not in rest and not rest.endswith(".py")
        if root in ROOTS and not is_js_tool:
            expected.add(f"{ROOTS[root]}/{rest}")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected
    assert {"clipgpt_retrieval/py.typed", "clipgpt_retrieval/front_patch/static/main.js"} <= names


class BareEnvironment:
    """A new virtual environment, which can import the packages of this one with ``sees_packages``."""

    def __init__(self, folder: Path, *, sees_packages: bool) -> None:
        venv.create(folder, symlinks=True)
        self.python = str(folder / "bin" / "python")
        [site_packages] = folder.glob("lib/python*/site-packages")
        if sees_packages:
            # As plain paths, so that the .pth files there, which would add the repository itself, are not read.
            seen = [path for path in sys.path if path.endswith("site-packages")]
            (site_packages / "parent.pth").write_text("\n".join(seen) + "\n")

    def install(self, *arguments: str) -> None:
        run(sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", *arguments, check=True)

    def run(self, program: str) -> str:
        # -I ignores the current folder and PYTHONPATH, through which it could import the repository.
        return run(self.python, "-I", "-c", program, check=True).stdout


IMPORT_EVERYTHING = """
import importlib, pkgutil, clipgpt_retrieval
for module in pkgutil.walk_packages(clipgpt_retrieval.__path__, "clipgpt_retrieval."):
    importlib.import_module(module.name)
from clipgpt_retrieval.front_patch import inject
print(clipgpt_retrieval.__file__, clipgpt_retrieval.__version__, clipgpt_retrieval.load("demo").encode(["a dog"]).shape)
"""


@pytest.mark.slow
def test_everything_imports_and_the_demo_encodes_from_the_wheel(wheel, tmp_path):
    environment = BareEnvironment(tmp_path / "venv", sees_packages=True)
    environment.install("--no-deps", "--no-index", str(wheel))
    file, version, shape = environment.run(IMPORT_EVERYTHING).split(maxsplit=2)
    assert file.startswith(str(tmp_path / "venv"))
    assert version == settings()["metadata"]["version"]
    assert shape.strip() == "(1, 256)"


CLIENT = """
import sys
from clipgpt_retrieval import ClipGptClient
client = ClipGptClient({url!r}, "demo", num_images=3)
print(len(client.query(text="a dog")), len(client.caption(ids=[4])), "torch" in sys.modules)
try:
    import torch
except ImportError:
    print("no torch")
"""


@pytest.mark.slow
def test_the_client_alone_needs_neither_torch_nor_clip(wheel, back_url, tmp_path):
    """As in docs/install.md; this test needs the package index."""
    environment = BareEnvironment(tmp_path / "venv", sees_packages=False)
    environment.install("--no-deps", str(wheel), "clip-retrieval>=2.45,<3")
    environment.install("requests")
    assert environment.run(CLIENT.format(url=f"{back_url}/knn-service")).split() == ["3", "1", "False", "no", "torch"]


def test_the_version_heads_the_changelog():
    version = settings()["metadata"]["version"]
    headings = [line for line in (REPOSITORY / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0].split()[1] == version


def test_all_is_every_extra_that_a_user_can_want():
    extras = settings()["options.extras_require"]
    names = set(extras) - {"all", "docs", "dev"}
    assert extras["all"].strip() == f"clipgpt-retrieval[{','.join(sorted(names))}]"
