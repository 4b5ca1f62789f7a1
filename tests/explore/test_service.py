"""`/explore-service`: the contract that the web front end is built on, and its refusals."""

import json
import shutil
import threading

import faiss
import numpy as np
import pytest

from clipgpt_retrieval import ClipGptClient
from clipgpt_retrieval.errors import InputError, NotFoundError

faiss.omp_set_num_threads(1)

CLUSTER_FIELDS = {
    "id",
    "caption",
    "distinctive_caption",
    "size",
    "share",
    "spread",
    "position",
    "example_ids",
    "num_children",
}


@pytest.fixture(scope="module")
def client(back_url):
    return ClipGptClient(f"{back_url}/knn-service", "demo", aesthetic_score="")


def test_the_root_shows_the_whole_index(client):
    answer = client.explore(num_clusters=5)
    assert (answer["indice_name"], answer["num_items"], answer["cluster"]) == ("demo", 300, None)
    assert answer["trail"] == [] and answer["example_ids"] == []
    assert len(answer["clusters"]) == 5
    assert sum(cluster["size"] for cluster in answer["clusters"]) == 300
    for cluster in answer["clusters"]:
        assert set(cluster) == CLUSTER_FIELDS
        assert cluster["share"] == pytest.approx(cluster["size"] / 300)
        assert all(0 <= number <= 1 for number in cluster["position"])
        assert 0 < len(cluster["example_ids"]) <= 12


def test_opening_a_cluster_shows_its_parts_and_the_way_back(client):
    parent = client.explore(num_clusters=5)["clusters"][1]
    opened = client.explore(cluster=parent["id"], num_clusters=5)
    assert opened["trail"] == [{"id": parent["id"], "caption": parent["caption"]}]
    assert len(opened["clusters"]) == parent["num_children"]
    assert sum(cluster["size"] for cluster in opened["clusters"]) == parent["size"]
    assert 0 < len(opened["example_ids"]) <= 100
    assert opened["example_ids"][: len(parent["example_ids"])] == parent["example_ids"]


@pytest.mark.parametrize("number", [1, 501, -3])
def test_a_number_of_clusters_out_of_bounds_is_named(client, number):
    with pytest.raises(InputError, match="num_clusters"):
        client.explore(num_clusters=number)


@pytest.mark.parametrize("cluster", ["99", "x", "0.0.0.0.0.0", "-1", "01", "0.", "²", "9" * 5000])
def test_an_unknown_cluster_is_not_found(client, cluster):
    with pytest.raises(NotFoundError, match="cluster"):
        client.explore(cluster=cluster, num_clusters=5)


def test_an_index_without_a_model_says_so(back_url):
    with pytest.raises(InputError, match="no clipgpt model"):
        ClipGptClient(f"{back_url}/knn-service", "stock", aesthetic_score="").explore()


def test_an_unknown_index_is_not_found(back_url):
    with pytest.raises(NotFoundError, match="no index is named"):
        ClipGptClient(f"{back_url}/knn-service", "nowhere", aesthetic_score="").explore()


def test_who_waits_for_the_clusters_of_another_is_let_go_in_time(
    index_folder, clipgpt_path, offline_flags, tmp_path, monkeypatch
):
    """A large index is clustered for minutes: a few clicks on Explore would hold every thread as long."""
    from clipgpt_retrieval.back import create_app
    from clipgpt_retrieval.explore.outline import Outline

    begun, may_end = threading.Event(), threading.Event()
    level = Outline.level

    def slow_level(outline, cluster):
        begun.set()
        assert may_end.wait(60)
        return level(outline, cluster)

    monkeypatch.setattr(Outline, "level", slow_level)
    shutil.copytree(index_folder, tmp_path / "index")
    (tmp_path / "indices.json").write_text(json.dumps({"demo": str(tmp_path / "index")}))
    flags = {"clipgpt_model": clipgpt_path, "load_clip": False, "request_seconds": 0.3, **offline_flags}
    http = create_app(indices_paths=str(tmp_path / "indices.json"), **flags).test_client
    first = threading.Thread(target=lambda: http().get("/explore-service"))
    first.start()
    assert begun.wait(60)
    refused = http().get("/explore-service")
    may_end.set()
    first.join()
    assert refused.status_code == 503
    assert "exceeded the time limit" in refused.json["error"]["message"]


def test_two_calls_at_once_compute_once_and_a_new_start_reads_it_back(index_folder, clipgpt, tmp_path, monkeypatch):
    """Captioning takes minutes on a real index: nobody should pay for it twice."""
    from clipgpt_retrieval.explore.contents import Contents
    from clipgpt_retrieval.index.source import open_index

    shutil.copy(index_folder / "image.index", tmp_path / "image.index")
    source = open_index(str(tmp_path))
    calls = []
    caption = clipgpt.caption
    monkeypatch.setattr(clipgpt, "caption", lambda *args, **kwargs: calls.append(1) or caption(*args, **kwargs))
    contents = Contents(source.items, source.file, clipgpt, 6)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(contents.open())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and all(answer == answers[0] for answer in answers)
    again = Contents(source.items, source.file, clipgpt, 6).open()
    assert len(calls) == 1 and again == json.loads(json.dumps(answers[0]))
    np.testing.assert_equal([c["id"] for c in again["clusters"]], [str(i) for i in range(6)])
