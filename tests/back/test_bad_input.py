"""Invalid requests get a 4xx that names the field, never a 500."""

import json

import pytest

from clipgpt_retrieval.back.limits import Limits

KNN, CAPTION, ENCODE, METADATA = "/knn-service", "/caption-service", "/encode-service", "/metadata"
DEEP = "[" * 100_000

CASES = [
    (KNN, b"not json", 400, "body"),
    (KNN, b"", 400, "body"),
    (KNN, b"\xff\xfe\x00", 400, "body"),
    (KNN, b"[1, 2]", 400, "body"),
    (KNN, b"null", 400, "body"),
    (KNN, DEEP.encode(), 413, "body"),
    (KNN, {}, 400, "text"),
    (KNN, {"text": ""}, 400, "text"),
    (KNN, {"text": "   "}, 400, "text"),
    (KNN, {"text": "\ud800"}, 400, "body"),
    (KNN, {"text": 5}, 400, "text"),
    (KNN, {"text": "long " * 400}, 400, "text"),
    (KNN, {"text": "a", "image": "aGk="}, 400, "image"),
    (KNN, {"text": "a", "segments": [{"text": "b"}]}, 400, "segments"),
    (KNN, {"text": "a", "indice_name": "nowhere"}, 404, "indice_name"),
    (KNN, {"text": "a", "modality": "sound"}, 400, "modality"),
    (KNN, {"text": "a", "num_images": 0}, 400, "num_images"),
    (KNN, {"text": "a", "num_images": -3}, 400, "num_images"),
    (KNN, {"text": "a", "num_images": "many"}, 400, "num_images"),
    (KNN, {"text": "a", "num_result_ids": 0}, 400, "num_result_ids"),
    (KNN, {"text": "a", "num_result_ids": "many"}, 400, "num_result_ids"),
    (KNN, {"text": "a", "clipgpt_weight": 1.5}, 400, "clipgpt_weight"),
    (KNN, b'{"text": "a", "clipgpt_weight": NaN}', 400, "clipgpt_weight"),
    (KNN, {"text": "a", "aesthetic_score": "pretty"}, 400, "aesthetic_score"),
    (KNN, {"text": "a", "use_mclip": True}, 400, "use_mclip"),
    (KNN, {"text": "a", "use_mclip": True, "use_clipgpt": True}, 400, "use_mclip"),
    (KNN, {"text": "a", "use_clipgpt": True, "indice_name": "stock"}, 400, "use_clipgpt"),
    (KNN, {"text": "a", "caption_results": 2, "indice_name": "stock"}, 400, "caption_results"),
    (KNN, {"text": "a", "caption_results": -1}, 400, "caption_results"),
    (KNN, {"text": "a", "min_similarity": 1.5}, 400, "min_similarity"),
    (KNN, {"text": "a", "min_similarity": "high"}, 400, "min_similarity"),
    (KNN, {"text": "a", "min_similarity": 0.5, "modality": "text"}, 400, "min_similarity"),
    (KNN, {"embedding_input": [1.0, 2.0]}, 400, "embedding_input"),
    (KNN, b'{"embedding_input": [NaN]}', 400, "embedding_input.0"),
    (KNN, {"embedding_input": ["a"]}, 400, "embedding_input.0"),
    (KNN, {"embedding_input": [1e300] * 64}, 400, "embedding_input.0"),
    (KNN, {"image": "%%%"}, 400, "image"),
    (KNN, {"image": "aGVsbG8="}, 400, "image"),
    (KNN, {"segments": []}, 400, "segments"),
    (KNN, {"segments": [{}]}, 400, "segments"),
    (KNN, {"segments": [{"text": "a", "id": 3}]}, 400, "segments"),
    (KNN, {"segments": [{"smell": "rose"}]}, 400, "segments.0.smell"),
    (KNN, {"segments": [{"text": ""}]}, 400, "text"),
    (KNN, {"segments": [{"id": 300}]}, 404, "segments"),
    (KNN, {"segments": [{"embedding": [1, 2]}]}, 400, "embedding"),
    (KNN, {"segments": [{"embedding": [0] * 64}]}, 400, "embedding"),
    (KNN, {"segments": [{"image": "aGVsbG8="}]}, 400, "image"),
    (KNN, {"segments": [{"text": "a"}], "use_clipgpt": False}, 400, "segments"),
    (KNN, {"segments": [{"text": "a"}], "indice_name": "stock"}, 400, "segments"),
    (KNN, {"segments": [{"id": 1}, {"id": 2}], "use_clipgpt": False}, 400, "segments"),
    (KNN, {"segments": [{"embedding": [1, 2]}], "use_clipgpt": False}, 400, "embedding"),
    (CAPTION, {}, 400, "ids"),
    (CAPTION, {"ids": [1], "embeddings": [[1] * 64]}, 400, "embeddings"),
    (CAPTION, {"ids": [300]}, 404, "ids"),
    (CAPTION, {"ids": [-1]}, 404, "ids"),
    (CAPTION, {"ids": [10**40]}, 404, "ids"),
    (CAPTION, {"ids": ["three"]}, 400, "ids.0"),
    (CAPTION, {"ids": list(range(2000))}, 400, "ids"),
    (CAPTION, {"ids": [1], "indice_name": "nowhere"}, 404, "indice_name"),
    (CAPTION, {"ids": [1], "indice_name": "stock"}, 400, "indice_name"),
    (CAPTION, {"embeddings": [[1, 2]]}, 400, "embedding"),
    (CAPTION, {"embeddings": [[1] * 64, [1]]}, 400, "embedding"),
    (CAPTION, {"embeddings": [[0] * 64]}, 400, "embedding"),
    (CAPTION, {"embeddings": [1]}, 400, "embeddings.0"),
    (CAPTION, {"ids": [1], "num_captions": 0}, 400, "num_captions"),
    (CAPTION, {"ids": [1], "num_beams": 10**6}, 400, "num_beams"),
    (CAPTION, {"ids": [1], "temperature": -1}, 400, "temperature"),
    (CAPTION, {"ids": [1], "temperature": 1e-39}, 400, "temperature"),
    (CAPTION, {"ids": [1], "top_p": 0}, 400, "top_p"),
    (CAPTION, {"ids": [1], "max_new_tokens": 10**6}, 400, "max_new_tokens"),
    (CAPTION, {"image_url": "file:///etc/passwd"}, 400, "image_url"),
    (ENCODE, {}, 400, "text"),
    (ENCODE, {"text": "a", "segments": [{"text": "b"}]}, 400, "segments"),
    (ENCODE, {"text": "long " * 400}, 400, "text"),
    (METADATA, {}, 400, "ids"),
    (METADATA, {"ids": [300], "indice_name": "demo"}, 404, "ids"),
    (METADATA, {"ids": [-1], "indice_name": "demo"}, 404, "ids"),
    (METADATA, {"ids": [1], "indice_name": "nowhere"}, 404, "indice_name"),
]


def case_name(case) -> str:
    path, body, *_ = case
    return f"{path} {body}"[:60]


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_bad_input_is_refused_with_one_sentence(http, case):
    path, body, status, field = case
    data = body if isinstance(body, bytes) else json.dumps(body)
    response = http.post(path, data=data)
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.json["error"]["field"] == field
    assert response.json["error"]["message"]
    assert "\n" not in response.json["error"]["message"]


def test_a_body_that_is_too_large(http):
    response = http.post(KNN, data=b" " * (Limits.max_body_bytes + 1))
    assert response.status_code == 413
    assert response.json["error"]["field"] == "body"
