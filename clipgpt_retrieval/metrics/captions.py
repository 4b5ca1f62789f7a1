"""Caption metrics as papers print them, through pycocoevalcap, and how varied captions are.

The CIDEr of that package clips counts and punishes unequal lengths, so it is CIDEr-D, and called so here.
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
"""By image: its captions, lower case, words parted by spaces."""

NO_JAVA = "it needs Java, and no working `java` is on the path"
NO_PARSER = (
    "it needs Stanford CoreNLP 3.6.0, which pycocoevalcap downloads by itself where "
    "`python -c 'from pycocoevalcap.spice.spice import Spice; Spice()'` may reach nlp.stanford.edu"
)


@dataclass(frozen=True)
class CaptionScores:
    """What a set of captions scores.

    Attributes:
        scores: by metric, over all images.
        by_image: CIDEr-D of each, float64 ``[n]``.
    """

    scores: dict[str, float]
    by_image: np.ndarray


class CaptionMetrics:
    """Scores captions against the true ones of their images.

    Args:
        references: the true captions of each image, at least one.

    Attributes:
        tokenizer: what parts the captions into words.
        skipped: reasons by metric for what cannot be had here.
    """

    def __init__(self, references: list[list[str]]) -> None:
        self._java = java_works()
        self.tokenizer = "Penn Treebank" if self._java else "plain (letters and digits), as there is no Java"
        self.skipped = _skipped(self._java)
        self._references = self._tokenize(references)

    def score(self, captions: list[str]) -> CaptionScores:
        """BLEU-1 to 4, METEOR, ROUGE-L, CIDEr-D and SPICE of one caption an image, as far as they can be had."""
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        said = self._tokenize([[caption] for caption in captions])
        bleu = Bleu(4).compute_score(self._references, said, verbose=0)[0]
        scores = {f"BLEU-{n}": float(value) for n, value in enumerate(bleu, 1)}
        if "METEOR" not in self.skipped:
            scores["METEOR"] = self._meteor_score(said)
        scores["ROUGE-L"] = float(Rouge().compute_score(self._references, said)[0])
        cider, by_image = Cider().compute_score(self._references, said)
        scores["CIDEr-D"] = float(cider)
        if "SPICE" not in self.skipped:
            scores["SPICE"] = _spice(self._references, said)
        return CaptionScores(scores, by_image)

    @cached_property
    def _meteor(self) -> Any:
        """Its process, which takes seconds to start."""
        from pycocoevalcap.meteor.meteor import Meteor

        return Meteor()

    def _meteor_score(self, said: Tokenized) -> float:
        try:
            return float(self._meteor.compute_score(self._references, said)[0])
        except BaseException:
            # Its destructor waits for a lock that an interrupted run keeps: Ctrl-C would hang.
            if self._meteor.lock.locked():
                self._meteor.lock.release()
            raise

    def _tokenize(self, captions: list[list[str]]) -> Tokenized:
        if not self._java:
            return {i: [plain_words(text) for text in texts] for i, texts in enumerate(captions)}
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

        return PTBTokenizer().tokenize({i: [{"caption": text} for text in texts] for i, texts in enumerate(captions)})


def plain_words(text: str) -> str:
    """Lower-case words of letters, digits and inner apostrophes, parted by spaces."""
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower()))


def java_works() -> bool:
    """Whether a `java` is on the path that runs."""
    if shutil.which("java") is None:
        return False
    return subprocess.run(["java", "-version"], capture_output=True, check=False).returncode == 0


def diversity(captions: list[str], known: list[str]) -> dict[str, float]:
    """How varied captions are.

    Args:
        captions: at least one.
        known: captions that could have been copied; none where nobody knows them.

    Returns:
        ``distinct-1`` and ``distinct-2`` (different words and pairs of words over all of them), ``different``
        (different captions over all of them), ``vocabulary`` (different words), ``length`` (mean words) and, with
        known captions, ``new`` (share of captions that is not word for word among these).
    """
    words = [plain_words(caption).split() for caption in captions]
    singles = [word for of_caption in words for word in of_caption]
    pairs = [pair for of_caption in words for pair in pairwise(of_caption)]
    copied = {plain_words(caption) for caption in known}
    metrics = {
        "distinct-1": len(set(singles)) / max(1, len(singles)),
        "distinct-2": len(set(pairs)) / max(1, len(pairs)),
        "different": len({tuple(of_caption) for of_caption in words}) / len(words),
        "vocabulary": float(len(set(singles))),
        "length": len(singles) / len(words),
    }
    if known:
        metrics["new"] = float(np.mean([" ".join(of_caption) not in copied for of_caption in words]))
    return metrics


def _skipped(java: bool) -> dict[str, str]:
    if not java:
        return {"METEOR": NO_JAVA, "SPICE": NO_JAVA}
    spec = find_spec("pycocoevalcap.spice")
    folders = list(spec.submodule_search_locations or []) if spec else []
    parser = any(Path(folder, "lib", "stanford-corenlp-3.6.0.jar").is_file() for folder in folders)
    return {} if parser else {"SPICE": NO_PARSER}


def _spice(references: Tokenized, said: Tokenized) -> float:
    from pycocoevalcap.spice.spice import Spice

    return float(Spice().compute_score(references, said)[0])
