"""Whether the best hit of a text is a close match, as /encode-service reports it."""

import json
import shutil

import faiss
import numpy as np
import pytest

from clipgpt_retrieval.engine import load
from clipgpt_retrieval.model.checkpoint import set_min_similarity

TEXT = "a dog"


@pytest.fixture
def match_of(tmp_path, clipgpt_path, clip_model, offline_flags, index_folder):
    """The response of a back end whose model has thresholds."""
    from clipgpt_retrieval.back import create_app

    def answer(thresholds, index=None, load_clip=True, **query):
        model = str(shutil.copytree(clipgpt_path, tmp_path / "model"))
        set_min_similarity(model, 0.5, thresholds)
        folder = shutil.copytree(index_folder, tmp_path / "index")
        if index is not None:
            faiss.write_index(index, str(folder / "image.index"))
        (tmp_path / "indices.json").write_text(json.dumps({"demo": str(folder)}))
        flags = {"clip_model": clip_model, **offline_flags, "load_clip": load_clip}
        app = create_app(indices_paths=str(tmp_path / "indices.json"), clipgpt_model=model, **flags)
        response = app.test_client().post("/encode-service", json={"text": TEXT, **query})
        assert response.status_code == 200, response.json
        return response.json["match"]

    return answer


def similarity_of_best(embeddings, searched, compared):
    return float(embeddings[np.argmax(embeddings @ searched)] @ compared)


@pytest.mark.parametrize("signal", ["query", "image"])
def test_the_best_hit_is_compared_by_the_signal_of_the_model(match_of, clipgpt, embeddings, signal):
    query, image = (one[0] for one in clipgpt.encode_both([TEXT]))
    expected = similarity_of_best(embeddings, query, query if signal == "query" else image)
    assert match_of({signal: 0.4}) == {"similarity": pytest.approx(expected, abs=1e-5), "threshold": 0.4}


@pytest.mark.parametrize(("load_clip", "threshold"), [(True, 0.3), (False, 0.4)])
def test_the_text_tower_counts_where_it_is_loaded(match_of, load_clip, threshold):
    assert match_of({"query": 0.4, "text_tower": 0.3}, load_clip=load_clip)["threshold"] == threshold


def test_the_similarity_is_a_cosine_whatever_the_metric_and_norms_of_the_index(match_of, clipgpt, embeddings):
    """Else the raw distance of an L2 index is compared with the cosine of the threshold."""
    index = faiss.IndexFlatL2(embeddings.shape[1])
    index.add(embeddings)
    query = clipgpt.encode([TEXT])[0]
    found = match_of({"query": 0.4}, index)
    assert found["similarity"] == pytest.approx(similarity_of_best(embeddings, query, query), abs=1e-5)


@pytest.mark.parametrize(
    ("thresholds", "query"),
    [
        (None, {}),  # not evaluated
        ({"text_tower": 0.3}, {"load_clip": False}),
        ({"query": 0.4}, {"text": None, "segments": [{"id": 3}, {"text": "at night"}]}),  # calibrated on texts
        ({"query": 0.4}, {"use_clipgpt": False}),
    ],
)
def test_without_a_threshold_for_the_query_no_match_is_reported(match_of, thresholds, query):
    assert match_of(thresholds, **query) is None


def test_a_model_without_thresholds_has_none(clipgpt_path):
    assert load(clipgpt_path, device="cpu").match_thresholds == {}
