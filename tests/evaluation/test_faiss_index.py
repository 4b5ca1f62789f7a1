"""What a user's own index costs: an exact one nothing, a coarse one something, another folder's is refused."""

import faiss
import numpy as np
import pytest

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.errors import DataError
from clipgpt_retrieval.evaluation.collection import Collection
from clipgpt_retrieval.evaluation.faiss_index import evaluate_index
from clipgpt_retrieval.metrics.retrieval import compute_ranks

faiss.omp_set_num_threads(1)
RANDOM = np.random.default_rng(0)
IMAGES, DIM = 300, 32


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


GALLERY = unit(RANDOM.normal(size=(IMAGES, DIM)))
TRUTH = np.repeat(np.arange(100), 2)
QUERIES = unit(GALLERY[TRUTH] + RANDOM.normal(size=(200, DIM)) * 0.35)


def pairs(first: int, last: int, rows: list[list[int]]) -> Pairs:
    names = [str(i) for i in range(first, last)]
    captions = [["a"]] * (last - first)
    return Pairs(GALLERY[first:last], captions, captions, 1.0, rows[first:last], names)


def made_up(rows: list[list[int]]) -> Collection:
    """A hundred images held out of three hundred."""
    return Collection("folder", pairs(0, 100, rows), pairs(100, IMAGES, rows), "held out", IMAGES)


def written(index: faiss.Index, folder) -> str:
    faiss.write_index(index, str(folder / "image.index"))
    return str(folder)


def flat(vectors: np.ndarray) -> faiss.Index:
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    return index


def test_a_flat_index_costs_nothing(tmp_path):
    found = evaluate_index(written(flat(GALLERY), tmp_path), QUERIES, TRUTH, made_up([[i] for i in range(IMAGES)]), 0)
    assert found.exact == found.through_index
    assert found.exact["R@1"].value == pytest.approx((compute_ranks(QUERIES, GALLERY, TRUTH).expected == 0).mean())
    assert (found.gallery, found.same_first_10, found.self_found) == (IMAGES, 1, 1)
    assert (found.cost.difference.value, found.index) == (0, "IndexFlatIP")
    assert found.bytes_per_item == pytest.approx(4 * DIM, abs=1)


def test_a_coarse_index_costs_something(tmp_path):
    index = faiss.index_factory(DIM, "PQ4x4", faiss.METRIC_INNER_PRODUCT)
    index.train(GALLERY)
    index.add(GALLERY)
    found = evaluate_index(written(index, tmp_path), QUERIES, TRUTH, made_up([[i] for i in range(IMAGES)]), 0)
    assert found.through_index["nDCG@10"].value < found.exact["nDCG@10"].value
    assert found.cost.difference.value < 0
    assert found.cost.p_value < 0.01
    assert found.same_first_10 < 0.9


def test_rows_of_one_image_count_once(tmp_path):
    """COCO with a row a caption: each image stands in the index five times."""
    rows = [[5 * i + j for j in range(5)] for i in range(IMAGES)]
    found = evaluate_index(written(flat(np.repeat(GALLERY, 5, axis=0)), tmp_path), QUERIES, TRUTH, made_up(rows), 0)
    assert found.exact == found.through_index


def test_equal_images_share_their_positions(tmp_path):
    """Whichever of ten equal images faiss returns first, each is the first one in a tenth of all orders."""
    gallery = GALLERY.copy()
    gallery[:10] = gallery[0]
    captions, rows = [["a"]] * IMAGES, [[i] for i in range(IMAGES)]
    everything = Pairs(gallery, captions, captions, 1.0, rows, [str(i) for i in range(IMAGES)])
    collection = Collection("folder", everything, None, "held out", IMAGES)
    found = evaluate_index(written(flat(gallery), tmp_path), gallery[:10], np.arange(10), collection, 0)
    assert found.through_index["R@1"].value == found.exact["R@1"].value == pytest.approx(0.1)
    assert found.through_index["R@5"].value == pytest.approx(0.5)


def test_an_index_of_other_rows_is_noticed(tmp_path):
    shuffled = flat(GALLERY[RANDOM.permutation(IMAGES)])
    found = evaluate_index(written(shuffled, tmp_path), QUERIES, TRUTH, made_up([[i] for i in range(IMAGES)]), 0)
    assert found.self_found < 0.2


def test_an_index_of_another_folder_is_refused(tmp_path):
    collection = made_up([[i] for i in range(IMAGES)])
    for index, why in ((flat(GALLERY[:50]), "has 50 items"), (faiss.IndexFlatIP(8), "of dimension 8")):
        with pytest.raises(DataError, match=why):
            evaluate_index(written(index, tmp_path), QUERIES, TRUTH, collection, 0)
    (tmp_path / "image.index").write_bytes(b"no index")
    with pytest.raises(DataError, match="cannot be read as a faiss index"):
        evaluate_index(str(tmp_path), QUERIES, TRUTH, collection, 0)
    with pytest.raises(DataError, match="cannot be read as a faiss index"):
        evaluate_index(str(tmp_path / "nowhere"), QUERIES, TRUTH, collection, 0)
