"""Caption metrics are pycocoevalcap's own, with Java and without; the baseline never takes an image's own caption."""

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from clipgpt_retrieval.data.pairs import Pairs
from clipgpt_retrieval.evaluation.captions import nearest_captions
from clipgpt_retrieval.metrics.captions import CaptionMetrics, diversity, java_works, plain_tokens

REFERENCES = [
    ["A black dog runs through the snow.", "Two dogs, one black, playing in snow"],
    ["A child's red ball on the beach", "The kid plays with a ball."],
    ["A man rides a bike down a street.", "Somebody cycles (fast) in town!"],
]
CANDIDATES = ["a black dog in the snow", "a child playing with a ball on the beach", "-"]


def by_hand(references: dict, candidates: dict) -> dict[str, float]:
    bleu = Bleu(4).compute_score(references, candidates, verbose=0)[0]
    return {
        **{f"BLEU-{n}": value for n, value in enumerate(bleu, 1)},
        "ROUGE-L": Rouge().compute_score(references, candidates)[0],
        "CIDEr-D": Cider().compute_score(references, candidates)[0],
    }


@pytest.mark.skipif(not java_works(), reason="there is no Java here")
def test_with_java_they_are_what_papers_print():
    references, candidates = (
        PTBTokenizer().tokenize({i: [{"caption": text} for text in texts] for i, texts in enumerate(of_all)})
        for of_all in (REFERENCES, [[caption] for caption in CANDIDATES])
    )
    metrics = CaptionMetrics(REFERENCES)
    found = metrics.score(CANDIDATES)
    expected = {**by_hand(references, candidates), "METEOR": Meteor().compute_score(references, candidates)[0]}
    assert {name: found.scores[name] for name in expected} == pytest.approx(expected)
    assert found.by_image.mean() == pytest.approx(found.scores["CIDEr-D"])
    assert set(metrics.skipped) == {"SPICE"} - set(found.scores)


def test_without_java_bleu_and_cider_remain_and_the_rest_is_skipped(monkeypatch):
    monkeypatch.setenv("PATH", "")
    metrics = CaptionMetrics(REFERENCES)
    found = metrics.score(CANDIDATES)
    references = {i: [plain_tokens(text) for text in texts] for i, texts in enumerate(REFERENCES)}
    candidates = {i: [plain_tokens(text)] for i, text in enumerate(CANDIDATES)}
    assert found.scores == pytest.approx(by_hand(references, candidates))
    assert set(metrics.skipped) == {"METEOR", "SPICE"}
    assert "Java" in metrics.skipped["METEOR"]
    assert "Java" in metrics.tokenizer


def test_plain_tokens():
    assert plain_tokens("A child's red-ball, (2) 'quoted' née_x!") == "a child's red ball 2 quoted née x"


def test_diversity():
    metrics = diversity(["a dog", "A dog.", "a black cat"], known=["a dog!"])
    assert metrics == pytest.approx(
        {"distinct-1": 4 / 7, "distinct-2": 3 / 4, "distinct": 2 / 3, "vocabulary": 4, "length": 7 / 3, "new": 1 / 3}
    )
    assert "new" not in diversity(["a dog"], known=[])


@pytest.mark.parametrize("exclude_self", [True, False])
def test_the_nearest_caption(exclude_self):
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1]] + np.array([[0, 0, 0], [0, 0.1, 0], [0, 0, 0.1]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    captions = [["zero", "nil"], ["one"], ["two"]]
    known = Pairs(vectors, captions, captions, 1.0, [[0], [1], [2]], ["0", "1", "2"])
    found = nearest_captions(vectors[:2], known, exclude_self)
    assert found == (["one", "zero"] if exclude_self else ["zero", "one"])
