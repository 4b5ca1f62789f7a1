"""`clipgpt-retrieval explore`: its output folder, its checks, and --walk in a real terminal."""

import json
import os
import subprocess
import sys

import faiss
import fsspec
import numpy as np
import pexpect
import pytest

from clipgpt_retrieval.errors import DataError, InputError, ModelError
from clipgpt_retrieval.explore.command import explore
from clipgpt_retrieval.explore.outline import Outline

TERMINAL = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "120", "TERM": "dumb"}


@pytest.fixture(scope="module")
def output(index_folder, clipgpt_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored") / "out"
    explore(
        str(index_folder),
        clipgpt_path,
        str(folder),
        num_clusters=6,
        sample=10,
        duplicates=True,
        outliers=True,
        compare=str(index_folder),
    )
    return folder


def test_all_results_are_written(output):
    names = {file.name for file in output.iterdir()}
    reports = {
        f"{name}.{end}"
        for name in ("sample", "duplicates", "outliers", "compare")
        for end in ("json", "parquet", "html")
    }
    assert names == reports | {"toc.json", "map.html", "map.png", "map.svg"}
    tree = json.loads((output / "toc.json").read_text())
    assert tree["num_items"] == 300 and len(tree["clusters"]) == 6
    assert all(len(cluster.get("clusters", [])) == cluster["num_children"] for cluster in tree["clusters"])
    rows = json.loads((output / "compare.json").read_text())["rows"]
    assert {row["verdict"] for row in rows} == {"alike"}


def test_a_comparison_is_printed_and_what_to_open(index_folder, clipgpt_path, tmp_path, capsys, embeddings):
    """After two minutes, all that was printed was the name of a folder."""
    other = faiss.IndexFlatIP(64)
    other.add(embeddings[:150])
    faiss.write_index(other, str(tmp_path / "other.index"))
    folder = tmp_path / "compared"
    explore(str(index_folder), clipgpt_path, str(folder), num_clusters=4, compare=str(tmp_path / "other.index"))
    printed = capsys.readouterr().out
    for row in json.loads((folder / "compare.json").read_text())["rows"]:
        assert f"{row['share_first']:.1%}" in printed and row["verdict"] in printed
    assert f"{folder}/map.html" in printed and f"{folder}/compare.html" in printed
    explore(str(index_folder), clipgpt_path, num_clusters=4)
    assert "add --output_folder FOLDER" in capsys.readouterr().out


def test_the_map_is_self_contained(output):
    page = (output / "map.html").read_text()
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert page.count("</script>") == 2


def test_invalid_flags_are_refused_before_loading(tmp_path):
    with pytest.raises(InputError, match="output_folder"):
        explore("nowhere", "nothing", sample=3)
    with pytest.raises(InputError, match=r"output_folder.*already exists"):
        explore("nowhere", "nothing", str(tmp_path))
    fsspec.filesystem("memory").pipe("/explored/thesis.tex", b"not ours to remove")
    with pytest.raises(InputError, match=r"output_folder.*already exists"):
        explore("nowhere", "nothing", "memory://explored")


def test_a_map_needs_matplotlib(index_folder, clipgpt_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"output_folder: needs matplotlib.*\[explore\]"):
        explore(str(index_folder), clipgpt_path, str(tmp_path / "explored"))


@pytest.mark.slow
def test_walk_opens_items_axes_and_clusters(index_folder, clipgpt_path):
    walk = ["-m", "clipgpt_retrieval.cli", "explore", str(index_folder), "--model", clipgpt_path, "--walk"]
    terminal = pexpect.spawn(
        sys.executable,
        [*walk, "--num_clusters", "6"],
        env=os.environ | TERMINAL,
        timeout=120,
        encoding="utf-8",
        dimensions=(60, 120),
    )
    terminal.expect("cluster .*caption")
    terminal.expect("quit")
    terminal.sendline("item 7")
    terminal.expect("contents > item 7")
    terminal.expect(r"7 +1\.00")  # the nearest item to item 7 is itself
    terminal.expect("axis")
    terminal.expect("quit")
    terminal.sendline("+1")
    terminal.expect("contents > item 7 > ")
    terminal.expect("quit")
    terminal.sendline("back")
    terminal.expect(r"contents > item 7\r?\n")
    terminal.expect("quit")
    terminal.sendline("item 99999")
    terminal.expect("no item 99999")
    terminal.expect("quit")
    terminal.sendline("cluster 2")
    terminal.expect("contents > item 7 > cluster 2")
    terminal.expect("quit")
    for typed, answer in (
        ("2", "is a number: write item 2, cluster 2 or"),
        ("item", "names no item"),
        ("help", "a text"),
    ):
        terminal.sendline(typed)
        terminal.expect(answer)
        assert f"cluster 2 > {typed}" not in terminal.before  # not taken for a query
        terminal.expect("quit")
    terminal.sendline("quit")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_a_number_of_clusters_out_of_range_is_refused(index_folder, clipgpt_path):
    with pytest.raises(InputError, match="num_clusters: is 1, it must be 2 to 500"):
        explore(str(index_folder), clipgpt_path, num_clusters=1)


@pytest.mark.parametrize("model", ["./no_model_here", "memory://no_model_here"])
def test_a_missing_model_is_refused_before_clustering(model, index_folder, monkeypatch):
    """Clustering a large index takes minutes."""
    monkeypatch.setattr(Outline, "level", lambda *_: pytest.fail("clustered"))
    with pytest.raises(ModelError, match="no_model_here"):
        explore(str(index_folder), model)


@pytest.mark.parametrize(
    "config",
    [{"model_type": "clipgpt", "clip_dim": 768}, {"model_type": "gpt2", "n_embd": 768}],
    ids=["clipgpt", "general-gpt"],
)
def test_a_model_of_another_clip_is_refused_by_its_configuration(config, index_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Outline, "level", lambda *_: pytest.fail("clustered"))
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"model: has dimension 768.*have 64"):
        explore(str(index_folder), str(tmp_path))


def test_compare_is_checked_before_clustering(index_folder, clipgpt_path, tmp_path, monkeypatch):
    monkeypatch.setattr(Outline, "level", lambda *_: pytest.fail("clustered"))
    with pytest.raises(DataError, match="nowhere"):
        explore(str(index_folder), clipgpt_path, str(tmp_path / "explored"), compare=str(tmp_path / "nowhere"))
    index = faiss.IndexFlatIP(3)
    index.add(np.eye(3, dtype=np.float32))
    faiss.write_index(index, str(tmp_path / "other.index"))
    with pytest.raises(InputError, match=r"compare: .*has dimension 3, expected 64 .*give two indexes of one CLIP"):
        explore(str(index_folder), clipgpt_path, str(tmp_path / "explored"), compare=str(tmp_path / "other.index"))


def test_a_model_is_checked_without_torch(clipgpt_path):
    """Its import alone takes seconds."""
    code = f"""
import sys
from clipgpt_retrieval.model.resolve import clip_dim_of, read_config
assert clip_dim_of(read_config({clipgpt_path!r})) == 64
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
