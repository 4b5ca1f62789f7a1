"""The table of contents and the comparison against the known content of the demo."""

import numpy as np
import pytest

import clipgpt_retrieval as cg
from benchmarks.demo_explore import PROMISED, chance, clusters_of, has_vehicle, purity, settings_of, two_halves
from clipgpt_retrieval.demo.vocabulary import setting_in
from clipgpt_retrieval.explore.comparison import compare

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def collection(demo_cache):
    return cg.demo.path()


@pytest.fixture(scope="module")
def engine(demo_cache):
    return cg.load("demo", device="cpu")


def test_captions_name_the_settings(collection, engine, demo_scenes):
    clusters = clusters_of(collection, engine, demo_scenes)
    sizes = [cluster["size"] for cluster in clusters]
    assert sum(sizes) == len(demo_scenes)
    named = {setting_in(cluster["caption"]) for cluster in clusters} - {None}
    assert len(named) >= 10, named
    groups = settings_of(clusters)
    assert purity(groups) > 2 * chance(groups)
    telling = [cluster for cluster in clusters if cluster["of_its_setting"] is not None]
    true = [cluster["of_its_setting"] for cluster in telling]
    assert np.average(true, weights=[cluster["size"] for cluster in telling]) > 2 * chance(groups)


def test_chance_is_the_purity_of_random_clusters():
    """Each has a most frequent setting: of many small ones more than the share of the most frequent of all."""
    assert chance([["park", "sea"]] * 500) == pytest.approx(0.75, abs=0.01)


def test_what_a_title_names_is_in_most_images_of_its_cluster(collection, engine, demo_scenes):
    clusters = clusters_of(collection, engine, demo_scenes)
    assert np.mean([one["named"] >= PROMISED for one in clusters]) >= 0.9
    assert len({(one["caption"], one["distinctive_caption"]) for one in clusters}) == len(clusters)


def test_the_comparison_finds_the_missing_vehicles(collection, engine, demo_scenes):
    first, second = two_halves(collection, demo_scenes)
    rows = [row for row in compare(first, second, engine, 24) if row["verdict"] != "alike"]
    missing = [row for row in rows if row["verdict"] in ("only in the first", "typical of the first")]
    assert missing, rows
    shown = [demo_scenes[2 * item] for row in missing for item in row["examples_first"]]
    assert np.mean([has_vehicle(scene) for scene in shown]) > 0.8
    captions = " ".join(row["caption"] for row in missing)
    assert any(
        word in captions
        for word in (
            "car",
            "bus",
            "truck",
            "train",
            "boat",
            "ship",
            "motorcycle",
            "taxi",
            "bike",
            "bicycle",
            "airplane",
            "plane",
        )
    )
