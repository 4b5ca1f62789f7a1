"""`/explore-service`: the contract with the web front end, and its errors."""

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
    response = client.explore(num_clusters=5)
    assert (response["indice_name"], response["num_items"], response["cluster"]) == ("demo", 300, None)
    assert response["trail"] == [] and response["example_ids"] == []
    assert len(response["clusters"]) == 5
    assert sum(cluster["size"] for cluster in response["clusters"]) == 300
    for cluster in response["clusters"]:
        assert set(cluster) == CLUSTER_FIELDS
        assert cluster["share"] == pytest.approx(cluster["size"] / 300)
        assert all(0 <= number <= 1 for number in cluster["position"])
        assert 0 < len(cluster["example_ids"]) <= 12


def test_opening_a_cluster_shows_its_children_and_its_trail(client):
    parent = client.explore(num_clusters=5)["clusters"][1]
    opened = client.explore(cluster=parent["id"], num_clusters=5)
    assert opened["trail"] == [{"id": parent["id"], "caption": parent["caption"]}]
    assert len(opened["clusters"]) == parent["num_children"]
    assert sum(cluster["size"] for cluster in opened["clusters"]) == parent["size"]
    assert 0 < len(opened["example_ids"]) <= 100
    assert opened["example_ids"][: len(parent["example_ids"])] == parent["example_ids"]


@pytest.mark.parametrize("number", [1, 501, -3])
def test_a_number_of_clusters_out_of_range_is_refused(client, number):
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


def test_waiting_for_another_request_respects_the_deadline(
    index_folder, clipgpt_path, offline_flags, tmp_path, monkeypatch
):
    """Clustering a large index takes minutes, and a few clicks on Explore would block every thread."""
    from clipgpt_retrieval.back import create_app
    from clipgpt_retrieval.explore.outline import Outline

    started, may_end = threading.Event(), threading.Event()
    level = Outline.level

    def slow_level(outline, cluster):
        started.set()
        assert may_end.wait(60)
        return level(outline, cluster)

    monkeypatch.setattr(Outline, "level", slow_level)
    shutil.copytree(index_folder, tmp_path / "index")
    (tmp_path / "indices.json").write_text(json.dumps({"demo": str(tmp_path / "index")}))
    flags = {"clipgpt_model": clipgpt_path, "load_clip": False, "request_seconds": 0.3, **offline_flags}
    http = create_app(indices_paths=str(tmp_path / "indices.json"), **flags).test_client
    first = threading.Thread(target=lambda: http().get("/explore-service"))
    first.start()
    assert started.wait(60)
    refused = http().get("/explore-service")
    may_end.set()
    first.join()
    assert refused.status_code == 503
    assert "exceeded the time limit" in refused.json["error"]["message"]


def test_concurrent_calls_compute_once_and_results_are_cached(index_folder, clipgpt, tmp_path, monkeypatch):
    """Captioning takes minutes on a real index."""
    from clipgpt_retrieval.explore.contents import Contents
    from clipgpt_retrieval.index.source import open_index

    shutil.copy(index_folder / "image.index", tmp_path / "image.index")
    source = open_index(str(tmp_path))
    calls = []
    caption = clipgpt.caption
    monkeypatch.setattr(clipgpt, "caption", lambda *args, **kwargs: calls.append(1) or caption(*args, **kwargs))
    contents = Contents(source.items, source.file, clipgpt, 6)
    responses = []
    threads = [threading.Thread(target=lambda: responses.append(contents.open())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and all(response == responses[0] for response in responses)
    again = Contents(source.items, source.file, clipgpt, 6).open()
    assert len(calls) == 1 and again == json.loads(json.dumps(responses[0]))
    np.testing.assert_equal([c["id"] for c in again["clusters"]], [str(i) for i in range(6)])
