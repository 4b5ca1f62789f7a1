"""Caption metrics of pycocoevalcap, and the diversity of captions.

CIDEr in pycocoevalcap clips counts and penalises differences of length, so it is CIDEr-D and called so here.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

Tokenized = dict[int, list[str]]
"""The captions of each image, in lower case, tokens separated by spaces."""

NO_JAVA = "requires Java, and `java` is not on the path or does not run"
NO_PARSER = (
    "requires Stanford CoreNLP 3.6.0, which pycocoevalcap downloads from nlp.stanford.edu by "
    "`python -c 'from pycocoevalcap.spice.spice import Spice; Spice()'`"
)


@dataclass(frozen=True)
class CaptionScores:
    """The scores of one caption for each image.

    Attributes:
        scores: by metric, over all images.
        by_image: CIDEr-D of each image, float64 ``[n]``.
    """

    scores: dict[str, float]
    by_image: np.ndarray


class CaptionMetrics:
    """Scores captions against the reference captions of their images.

    Args:
        references: the reference captions of each image, at least one.

    Attributes:
        tokenizer: name of the tokenizer.
        skipped: metrics that are not available, with the reason.
    """

    def __init__(self, references: list[list[str]]) -> None:
        self._java = java_works()
        self.tokenizer = "Penn Treebank" if self._java else "plain (letters and digits), as Java is not available"
        self.skipped = _skipped(self._java)
        self._references = self._tokenize(references)

    def score(self, captions: list[str]) -> CaptionScores:
        """BLEU-1 to 4, METEOR, ROUGE-L, CIDEr-D and SPICE of one caption for each image, as far as available."""
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        candidates = self._tokenize([[caption] for caption in captions])
        bleu = Bleu(4).compute_score(self._references, candidates, verbose=0)[0]
        scores = {f"BLEU-{n}": float(value) for n, value in enumerate(bleu, 1)}
        if "METEOR" not in self.skipped:
            scores["METEOR"] = self._meteor_score(candidates)
        scores["ROUGE-L"] = float(Rouge().compute_score(self._references, candidates)[0])
        cider, by_image = Cider().compute_score(self._references, candidates)
        scores["CIDEr-D"] = float(cider)
        if "SPICE" not in self.skipped:
            scores["SPICE"] = _spice(self._references, candidates)
        return CaptionScores(scores, by_image)

    @cached_property
    def _meteor(self) -> Any:
        """METEOR's Java process, which takes seconds to start."""
        from pycocoevalcap.meteor.meteor import Meteor

        return Meteor()

    def _meteor_score(self, candidates: Tokenized) -> float:
        try:
            return float(self._meteor.compute_score(self._references, candidates)[0])
        except BaseException:
            # Its destructor waits for this lock, which an interrupted call keeps: Ctrl-C would hang.
            if self._meteor.lock.locked():
                self._meteor.lock.release()
            raise

    def _tokenize(self, captions: list[list[str]]) -> Tokenized:
        if not self._java:
            return {i: [plain_tokens(text) for text in texts] for i, texts in enumerate(captions)}
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

        return PTBTokenizer().tokenize({i: [{"caption": text} for text in texts] for i, texts in enumerate(captions)})


def plain_tokens(text: str) -> str:
    """Words of letters, digits and inner apostrophes, in lower case, separated by spaces."""
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower()))


def java_works() -> bool:
    """Whether `java` is on the path and runs."""
    if shutil.which("java") is None:
        return False
    return subprocess.run(["java", "-version"], capture_output=True, check=False).returncode == 0


def diversity(captions: list[str], known: list[str]) -> dict[str, float]:
    """The diversity of captions.

    Args:
        captions: at least one.
        known: captions of the training set; empty if unknown.

    Returns:
        ``distinct-1`` and ``distinct-2`` (distinct words and pairs of words over all of them), ``distinct`` (distinct
        captions over all of them), ``vocabulary`` (distinct words), ``length`` (mean words) and, with known captions,
        ``new`` (share of captions that are not among these).
    """
    tokens = [plain_tokens(caption).split() for caption in captions]
    singles = [word for of_caption in tokens for word in of_caption]
    pairs = [pair for of_caption in tokens for pair in pairwise(of_caption)]
    copied = {plain_tokens(caption) for caption in known}
    metrics = {
        "distinct-1": len(set(singles)) / max(1, len(singles)),
        "distinct-2": len(set(pairs)) / max(1, len(pairs)),
        "distinct": len({tuple(of_caption) for of_caption in tokens}) / len(tokens),
        "vocabulary": float(len(set(singles))),
        "length": len(singles) / len(tokens),
    }
    if known:
        metrics["new"] = float(np.mean([" ".join(of_caption) not in copied for of_caption in tokens]))
    return metrics


def _skipped(java: bool) -> dict[str, str]:
    if not java:
        return {"METEOR": NO_JAVA, "SPICE": NO_JAVA}
    spec = find_spec("pycocoevalcap.spice")
    folders = list(spec.submodule_search_locations or []) if spec else []
    parser = any(Path(folder, "lib", "stanford-corenlp-3.6.0.jar").is_file() for folder in folders)
    return {} if parser else {"SPICE": NO_PARSER}


def _spice(references: Tokenized, candidates: Tokenized) -> float:
    from pycocoevalcap.spice.spice import Spice

    return float(Spice().compute_score(references, candidates)[0])
