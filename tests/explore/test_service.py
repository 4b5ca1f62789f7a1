"""`/explore-service`: the contract with the web front end, and its errors."""

import json
import os
import shutil
import threading

import faiss
import numpy as np
import pytest
import requests
from support import wait_until

from clipgpt_retrieval import ClipGptClient
from clipgpt_retrieval.errors import BusyError, InputError, NotFoundError

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


def test_an_index_without_a_model_is_reported(back_url):
    with pytest.raises(InputError, match="no clipgpt model"):
        ClipGptClient(f"{back_url}/knn-service", "stock", aesthetic_score="").explore()


def test_an_unknown_index_is_not_found(back_url):
    with pytest.raises(NotFoundError, match="no index is named"):
        ClipGptClient(f"{back_url}/knn-service", "nowhere", aesthetic_score="").explore()


@pytest.fixture
def http_of(index_folder, clipgpt_path, offline_flags, tmp_path):
    """Makes test clients of an app with an index of its own."""
    from clipgpt_retrieval.back import create_app

    def make(**given):
        shutil.copytree(index_folder, tmp_path / "index")
        (tmp_path / "indices.json").write_text(json.dumps({"demo": str(tmp_path / "index")}))
        flags = {"clipgpt_model": clipgpt_path, "load_clip": False, **offline_flags, **given}
        return create_app(indices_paths=str(tmp_path / "indices.json"), **flags).test_client

    return make


def test_waiting_for_another_request_respects_the_deadline(http_of, monkeypatch):
    """Clustering a large index takes minutes, and a few clicks on Explore would block every thread."""
    from clipgpt_retrieval.explore.outline import Outline

    started, may_end = threading.Event(), threading.Event()
    level = Outline.level

    def slow_level(outline, cluster, **options):
        started.set()
        assert may_end.wait(60)
        return level(outline, cluster, **options)

    monkeypatch.setattr(Outline, "level", slow_level)
    http = http_of(request_seconds=0.3)
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


def test_clusters_are_computed_for_a_few_requests_at_once(http_of, monkeypatch):
    """64 clients with as many numbers of clusters held all threads for a minute."""
    from clipgpt_retrieval.back.explore import MAX_EXPLORING
    from clipgpt_retrieval.explore import outline

    http = http_of()
    assert http().get("/explore-service?num_clusters=5").status_code == 200
    may_end, running, most = threading.Event(), [], []
    kmeans = outline.weighted_kmeans

    def slow_kmeans(*args, **options):
        running.append(1)
        most.append(len(running))
        assert may_end.wait(60)
        running.pop()
        return kmeans(*args, **options)

    monkeypatch.setattr(outline, "weighted_kmeans", slow_kmeans)
    responses = []
    threads = [
        threading.Thread(target=lambda k=k: responses.append(http().get(f"/explore-service?num_clusters={k}")))
        for k in range(6, 12)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(responses) == len(threads) - MAX_EXPLORING)
    assert all(response.status_code == 503 and int(response.headers["Retry-After"]) >= 1 for response in responses)
    assert http().get("/explore-service?num_clusters=5").status_code == 200  # what is in memory waits for nothing
    may_end.set()
    for thread in threads:
        thread.join()
    assert [response.status_code for response in responses].count(200) == MAX_EXPLORING
    assert max(most) == 1


def test_a_cancelled_request_ends_between_rounds_of_kmeans(index_folder, tmp_path):
    from clipgpt_retrieval.explore.outline import Outline
    from clipgpt_retrieval.index.source import open_index

    shutil.copy(index_folder / "image.index", tmp_path / "image.index")
    source = open_index(str(tmp_path))
    calls = []

    def cancel() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise BusyError("cancelled")

    with pytest.raises(BusyError):
        Outline(source.items, source.file, 6).level(None, yield_point=cancel)
    assert len(calls) == 3


def test_the_oldest_results_beside_an_index_are_removed(index_folder, tmp_path, monkeypatch):
    """Each number of clusters left a folder for ever."""
    from clipgpt_retrieval.explore import cache

    monkeypatch.setattr(cache, "MAX_RESULTS", 3)
    shutil.copy(index_folder / "image.index", tmp_path / "image.index")
    caches = [cache.Cache(tmp_path / "image.index", f"outline {k}") for k in range(5)]
    for k, each in enumerate(caches):
        each.put_json("root", k)
        for age, folder in enumerate(
            sorted((tmp_path / cache.FOLDER_NAME).iterdir(), key=lambda one: one.stat().st_mtime)
        ):
            os.utime(folder, (age, age))
        assert caches[0].get_json("root") == 0  # used again each time
    assert [each.get_json("root") for each in caches] == [0, None, None, 3, 4]


def test_items_are_located_in_the_clusters_of_each_level(back_url):
    """The page lights up where the results of a search lie."""

    def explored(**asked):
        response = requests.get(f"{back_url}/explore-service", params={"indice_name": "demo", **asked}, timeout=60)
        assert response.status_code == 200, response.text
        return response.json()

    root = explored(num_clusters=5)
    assert "found" not in root
    examples = {cluster["id"]: cluster["example_ids"][:3] for cluster in root["clusters"]}
    asked = ",".join(str(item) for ids in examples.values() for item in ids)
    assert explored(num_clusters=5, ids=asked)["found"] == examples
    opened = explored(num_clusters=5, ids=asked, cluster="1")["found"]
    assert sorted(item for ids in opened.values() for item in ids) == sorted(examples["1"])
    assert all(cluster.startswith("1.") for cluster in opened)


@pytest.mark.parametrize("ids", ["", "a", "1,", "-1", "999999999", ",".join(map(str, range(1001)))])
def test_ids_that_cannot_be_located_are_refused(back_url, ids):
    asked = {"indice_name": "demo", "num_clusters": 5, "ids": ids or ","}
    response = requests.get(f"{back_url}/explore-service", params=asked, timeout=60)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["field"] == "ids"
