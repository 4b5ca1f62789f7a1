"""`clipgpt-retrieval doctor`, in real processes: what works is called ok, what is broken is called by its name."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from clipgpt_retrieval import doctor

COMMAND = [sys.executable, "-m", "clipgpt_retrieval.cli", "doctor"]


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=300, **options)


def marks(report: str) -> dict[str, str]:
    """What each line's subject was called last."""
    lines = [line for line in report.splitlines() if line and not line.startswith(" ")]
    return {line[7:24].strip(): line[:6].strip() for line in lines}


def test_without_a_model_it_finds_this_environment_well():
    finished = run()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert marks(finished.stdout)["clip-retrieval"] == "ok"
    assert "-> clipgpt-retrieval doctor --model MODEL --index FOLDER" in finished.stdout


def test_it_needs_neither_torch_nor_faiss_to_speak():
    program = (
        "import sys; sys.modules.update(torch=None, faiss=None, transformers=None)\n"
        "from clipgpt_retrieval.doctor import doctor; doctor()"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_a_model_and_an_index_that_go_together_are_tried_and_found_well(clipgpt_path, index_folder, embeddings):
    count, dim = embeddings.shape
    finished = run("--model", clipgpt_path, "--index", str(index_folder))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "clip-retrieval    starts" in finished.stdout
    assert f"{count} items of {dim} numbers; item 0 has norm 1.00" in finished.stdout
    assert f"{count} rows, one for each item" in finished.stdout
    assert marks(finished.stdout)["model, index"] == "ok"


def report(**tried: str) -> list[doctor.Finding]:
    """What is found of a model and an index, without the lines about the environment."""
    found: list[doctor.Finding] = []
    if "model" in tried:
        found += doctor.examined("model", doctor.check_model(tried["model"]))
    if "index" in tried:
        found += doctor.examined("index", doctor.check_index(tried["index"]))
    return found


def wrong(found: list[doctor.Finding]) -> list[str]:
    return [str(finding) for finding in found if finding.mark == "wrong"]


def test_what_is_not_there_is_named(tmp_path):
    [model] = wrong(report(model=str(tmp_path / "nothing")))
    assert "nothing does not exist: give a directory" in model
    [index] = wrong(report(index=str(tmp_path)))
    assert f"{tmp_path} is not an index" in index


def test_weights_cut_short_are_found_before_the_back_end_starts(clipgpt_path, tmp_path):
    broken = shutil.copytree(clipgpt_path, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    [line] = wrong(report(model=str(broken)))
    assert f"{broken} cannot be loaded" in line


@pytest.mark.slow
def test_an_index_of_another_clip_is_told_from_the_model(clipgpt_path, index_folder, embeddings, tmp_path):
    import faiss

    other = shutil.copytree(index_folder, tmp_path / "other")
    index = faiss.IndexFlatIP(48)
    index.add(np.ascontiguousarray(embeddings[:, :48]))
    faiss.write_index(index, str(other / "image.index"))
    finished = run("--model", clipgpt_path, "--index", str(other))
    assert finished.returncode == 1
    assert f"the model's embeddings have {embeddings.shape[1]} numbers, the index's 48" in finished.stdout


def test_metadata_that_do_not_count_as_the_index_counts_are_found(index_folder, embeddings, tmp_path):
    import pandas as pd

    folder = shutil.copytree(index_folder, tmp_path / "index")
    [parquet] = (folder / "metadata").glob("*.parquet")
    pd.read_parquet(parquet).iloc[1:].to_parquet(parquet)
    [line] = wrong(report(index=str(folder)))
    assert f"{len(embeddings) - 1} rows for {len(embeddings)} items" in line
    shutil.rmtree(folder / "metadata")
    [line] = wrong(report(index=str(folder)))
    assert "copy the folder metadata" in line
    (folder / "metadata").mkdir()
    (folder / "metadata" / "0.arrow").touch()
    assert not wrong(report(index=str(folder)))


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Installs an empty package of a name and a version, or hides what is installed of it."""

    def install(name: str, version: str) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def test_a_setuptools_without_pkg_resources_is_found_and_mended(distribution):
    distribution("setuptools", "82.0.0")
    [line] = wrong(list(doctor.check_packages()))
    assert "setuptools" in line and "is 82.0.0, and <81 is needed" in line
    assert "pip install 'setuptools<81'" in line


def test_a_clip_retrieval_that_does_not_start_is_found_with_its_reason(tmp_path, monkeypatch):
    package = tmp_path / "clip_retrieval"
    package.mkdir()
    (package / "__init__.py").write_text("import pkg_resources_that_is_gone\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [line] = wrong(list(doctor.check_clip_retrieval_starts()))
    assert "does not start: ModuleNotFoundError: No module named 'pkg_resources_that_is_gone'" in line
    assert "pip install 'setuptools<81'" in line


def test_an_incomplete_extra_is_a_note_with_the_command_that_completes_it(distribution):
    distribution("matplotlib", "1.0")
    [line] = [str(finding) for finding in doctor.check_extras() if finding.subject == "[explore]"]
    assert line.startswith("note") and "matplotlib" in line
    assert "pip install 'clipgpt-retrieval[explore]'" in line


def test_java_is_asked_for_where_evaluation_is_installed(distribution, monkeypatch):
    distribution("pycocoevalcap", "1.2")
    monkeypatch.setenv("PATH", "")
    assert any("METEOR" in str(finding) and finding.mark == "note" for finding in doctor.check_programs())


def test_an_ipython_that_breaks_clip_retrievals_help_is_a_note_and_ours_is_shown_all_the_same(distribution, tmp_path):
    distribution("ipython", "9.1.0")
    [note] = [str(finding) for finding in doctor.check_packages() if finding.subject == "ipython"]
    assert "pip install 'ipython<9'" in note
    (tmp_path / "IPython").mkdir()
    (tmp_path / "IPython" / "__init__.py").write_text("raise TypeError('theme_name')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PAGER": "cat"}
    command = [*COMMAND[:-1], "--help"]
    helped = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert helped.returncode == 0 and "doctor" in helped.stdout + helped.stderr


def test_a_machine_too_busy_to_start_clip_retrieval_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(doctor, "START_SECONDS", 0.01)
    [finding] = doctor.check_clip_retrieval_starts()
    assert finding.mark == "wrong" and "has not started within 0.01 seconds" in finding.message and finding.remedy
