"""`clipgpt-retrieval doctor`, in real processes: what works is ok, what is broken is an error that names it."""

import shutil
import sys
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
from support import run, run_cli

from clipgpt_retrieval import demo, doctor, host
from clipgpt_retrieval.engine import load
from clipgpt_retrieval.index.source import open_index

REPOSITORY = Path(__file__).parents[1]


def marks(report: str) -> dict[str, str]:
    """The last mark of each subject."""
    lines = [line for line in report.splitlines() if line and not line.startswith(" ")]
    return {line[7:24].strip(): line[:6].strip() for line in lines}


def test_this_environment_is_ok():
    finished = run_cli("doctor", check=True)
    assert marks(finished.stdout)["clip-retrieval"] == "ok"
    assert "-> clipgpt-retrieval doctor --model MODEL --index FOLDER" in finished.stdout


def test_it_works_without_torch_and_faiss():
    program = (
        "import sys; sys.modules.update(torch=None, faiss=None, transformers=None)\n"
        "from clipgpt_retrieval.doctor import doctor; doctor()"
    )
    run(sys.executable, "-c", program, check=True)


@pytest.mark.slow
def test_a_model_and_its_index_are_ok():
    finished = run_cli("doctor", "--model", "demo", "--index", demo.path() / "index", check=True)
    assert "clip-retrieval    starts" in finished.stdout
    assert "2,000 items of dimension 256" in finished.stdout
    assert "2,000 rows, one per item" in finished.stdout
    assert marks(finished.stdout)["model, index"] == "ok"


@pytest.fixture(scope="module")
def demo_model():
    return load("demo", device="cpu")


def last_of_fit(model, folder: Path, embeddings: np.ndarray, metadata: pd.DataFrame) -> doctor.Finding:
    """The last finding about a model and an index of these embeddings."""
    (folder / "metadata").mkdir()
    metadata.to_parquet(folder / "metadata" / "metadata_0.parquet")
    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(np.ascontiguousarray(embeddings, dtype=np.float32))
    faiss.write_index(index, str(folder / "image.index"))
    return list(doctor.check_fit(model, open_index(str(folder))))[-1]


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        (lambda embeddings: embeddings, "ok"),
        (lambda embeddings: embeddings * 10, "ok"),
        (lambda embeddings: embeddings[:, ::-1], "error"),
        (lambda embeddings: np.roll(embeddings, 31, axis=0), "error"),
    ],
    ids=["its own", "unnormalised", "another CLIP of the same dimension", "metadata in another order"],
)
def test_a_model_that_answers_nonsense_on_an_index_is_not_ok(demo_model, tmp_path, change, mark):
    """All of these load, search and caption without an error."""
    embeddings = np.load(demo.path() / "img_emb" / "img_emb_0.npy")[:100]
    metadata = pd.read_parquet(demo.path() / "metadata" / "metadata_0.parquet")[:100]
    finding = last_of_fit(demo_model, tmp_path, change(embeddings), metadata)
    assert finding.mark == mark, finding
    assert ("does not fit this index" in finding.message) == (mark == "error")


def test_an_index_without_captions_is_not_called_fitting(demo_model, tmp_path):
    finding = last_of_fit(demo_model, tmp_path, np.eye(20, 256), pd.DataFrame({"url": ["x"] * 20}))
    assert finding.mark == "note" and "too few captions" in finding.message


def test_without_an_index_a_readback_is_not_called_ok(demo_model):
    [finding] = doctor.show_readback(demo_model)
    assert finding.mark == "note" and finding.remedy.endswith("--index FOLDER")


def report(**checked: str) -> list[doctor.Finding]:
    """The findings about a model or an index, without those about the environment."""
    found: list[doctor.Finding] = []
    if "model" in checked:
        found += doctor.examined("model", doctor.check_model(checked["model"]))
    if "index" in checked:
        found += doctor.examined("index", doctor.check_index(checked["index"]))
    return found


def errors(found: list[doctor.Finding]) -> list[str]:
    return [str(finding) for finding in found if finding.mark == "error"]


def test_what_does_not_exist_is_named(tmp_path):
    [model] = errors(report(model=str(tmp_path / "nothing")))
    assert "nothing does not exist: give a directory" in model
    [index] = errors(report(index=str(tmp_path)))
    assert f"{tmp_path} is not an index" in index


def test_truncated_weights_are_an_error(clipgpt_path, tmp_path):
    broken = shutil.copytree(clipgpt_path, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    [line] = errors(report(model=str(broken)))
    assert f"{broken} cannot be loaded" in line


@pytest.mark.slow
def test_an_index_of_another_dimension_is_an_error(clipgpt_path, index_folder, embeddings, tmp_path):
    other = shutil.copytree(index_folder, tmp_path / "other")
    index = faiss.IndexFlatIP(48)
    index.add(np.ascontiguousarray(embeddings[:, :48]))
    faiss.write_index(index, str(other / "image.index"))
    finished = run_cli("doctor", "--model", clipgpt_path, "--index", other)
    assert finished.returncode == 1
    assert f"the model has dimension {embeddings.shape[1]}, the index 48" in finished.stdout


def test_metadata_with_another_number_of_rows_is_an_error(index_folder, embeddings, tmp_path):
    folder = shutil.copytree(index_folder, tmp_path / "index")
    [parquet] = (folder / "metadata").glob("*.parquet")
    pd.read_parquet(parquet).iloc[1:].to_parquet(parquet)
    [line] = errors(report(index=str(folder)))
    assert f"{len(embeddings) - 1} rows for {len(embeddings)} items" in line
    shutil.rmtree(folder / "metadata")
    [line] = errors(report(index=str(folder)))
    assert "copy the metadata folder" in line
    (folder / "metadata").mkdir()
    (folder / "metadata" / "0.arrow").touch()
    assert not errors(report(index=str(folder)))


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Installs an empty package of a name and a version, which hides the one that is installed."""

    def install(name: str, version: str) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


@pytest.mark.skipif(sys.version_info >= host.UNCAPPED_FROM, reason="there, clip-retrieval needs the plugin instead")
def test_a_setuptools_without_pkg_resources_is_an_error(distribution):
    distribution("setuptools", "82.0.0")
    [line] = errors(list(doctor.check_packages()))
    assert "setuptools" in line and "is 82.0.0, required is <81" in line
    assert "pip install 'setuptools<81'" in line


def test_a_clip_retrieval_that_does_not_start_is_an_error(tmp_path, monkeypatch):
    package = tmp_path / "clip_retrieval"
    package.mkdir()
    (package / "__init__.py").write_text("import dependency_that_is_gone\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [line] = errors(list(doctor.check_clip_retrieval_starts()))
    assert "does not start: ModuleNotFoundError: No module named 'dependency_that_is_gone'" in line
    assert "install it in a new environment" in line
    (package / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'pkg_resources'\")\n")
    [finding] = doctor.check_clip_retrieval_starts()
    assert (finding.mark, finding.remedy) == ("note", "clipgpt-retrieval enable")


def test_where_pip_cannot_resolve_clip_retrieval_the_command_that_adds_it_is_named(distribution, monkeypatch):
    """From Python 3.13 on, pip installs this package without clip-retrieval, and nothing runs."""
    monkeypatch.setattr(host, "UNCAPPED_FROM", (3, 10))
    [finding] = doctor.check_host()
    assert finding.mark == "ok"
    distribution("autofaiss", "1.0")
    [finding] = doctor.check_host()
    assert "autofaiss<3,>=2.17 not installed" in finding.message and finding.mark == "error"
    assert finding.remedy == "pip install --no-deps 'clip-retrieval>=2.45,<3' 'autofaiss>=2.17,<3' 'all-clip>=1.3,<2'"


def test_that_command_is_the_one_of_the_makefile_and_of_the_documentation():
    marker = 'python_version >= "{}.{}"'.format(*host.UNCAPPED_FROM)
    lines = (REPOSITORY / "clip-retrieval.txt").read_text().splitlines()[1:]
    assert lines == [f"{each}; {marker}" for each in host.WITHOUT_REQUIREMENTS]
    command = " ".join(["pip install --no-deps", *(f"'{each}'" for each in host.WITHOUT_REQUIREMENTS)])
    assert command in (REPOSITORY / "docs" / "install.md").read_text()


def test_an_incomplete_extra_is_a_note(distribution):
    distribution("matplotlib", "1.0")
    [line] = [str(finding) for finding in doctor.check_extras() if finding.subject == "[explore]"]
    assert line.startswith("note") and "matplotlib" in line
    assert "pip install 'clipgpt-retrieval[explore]'" in line


def test_java_is_missed_where_evaluation_is_installed(distribution, monkeypatch):
    distribution("pycocoevalcap", "1.2")
    monkeypatch.setenv("PATH", "")
    assert any("METEOR" in str(finding) and finding.mark == "note" for finding in doctor.check_programs())


def test_an_ipython_that_breaks_clip_retrievals_help_is_a_note_and_does_not_break_ours(distribution, tmp_path):
    distribution("ipython", "9.1.0")
    distribution("fire", "0.5.0")
    [note] = [str(finding) for finding in doctor.check_packages() if finding.subject == "ipython"]
    assert "pip install 'ipython<9'" in note
    (tmp_path / "IPython").mkdir()
    (tmp_path / "IPython" / "__init__.py").write_text("raise TypeError('theme_name')")
    helped = run_cli("--help", env={"PYTHONPATH": str(tmp_path), "PAGER": "cat"}, check=True)
    assert "doctor" in helped.stdout + helped.stderr


def test_a_start_that_takes_too_long_is_an_error(monkeypatch):
    monkeypatch.setattr(doctor, "START_SECONDS", 0.01)
    [finding] = doctor.check_clip_retrieval_starts()
    assert finding.mark == "error" and "did not start within 0.01 seconds" in finding.message and finding.remedy


@pytest.mark.parametrize(
    ("kind", "scale", "expected"),
    [
        ("Flat", 10, "embeddings have norms from 10.00 to 10.00: similarities are not cosines"),
        ("L2norm,Flat", 10, None),
        ("OPQ16,IVF4,PQ16x4", 1, None),
        ("L2 Flat", 1, "compares by L2: the similarity of a result is a squared distance"),
    ],
)
def test_similarities_that_are_not_cosines_are_noted(index_folder, embeddings, tmp_path, kind, scale, expected):
    """Thresholds and the numbers of the page are cosines."""
    import faiss

    metric = faiss.METRIC_L2 if kind.startswith("L2 ") else faiss.METRIC_INNER_PRODUCT
    folder = shutil.copytree(index_folder, tmp_path / "index")
    index = faiss.index_factory(embeddings.shape[1], kind.removeprefix("L2 "), metric)
    index.train(scale * embeddings)
    index.add(scale * embeddings)
    faiss.write_index(index, str(folder / "image.index"))
    similarity = [finding for finding in doctor.check_index(str(folder)) if finding.subject == "similarity"]
    assert bool(similarity) == bool(expected) and all(expected in finding.message for finding in similarity)
