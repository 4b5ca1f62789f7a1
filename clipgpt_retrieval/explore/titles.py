"""Titles of sibling clusters, chosen by how well captions fit the clusters' members.

The caption of a centre names what lies between the members, which may be in none of them. A title is the caption, of
the centre or of a member, of which most can be said of most members, without the phrases that cannot. As in
discriminative captioning, the phrase that distinguishes a cluster is the one that fits it better than its siblings by
the largest margin (Vedantam et al. 2017, arXiv:1701.02870); a phrase fits as many members as have it in their captions.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OPENING = re.compile(r"^(?:an? |the )?(?:photo|picture|image|photograph|view) of ", re.IGNORECASE)
PREPOSITIONS = (
    r"above|after|along|around|at|behind|below|beneath|beside|between|by|during|for|from|high in|in front of"
    r"|in|inside|near|next to|on|outside|over|through|under|while|with|without"
)
CUTS = re.compile(
    rf"\s*[,.;]\s*|\s+and\s+|\s+(?:can be seen|is|are)\b\s*|\s+(?=(?:{PREPOSITIONS})\s)",
    re.IGNORECASE,
)
OPENS_WITH_PREPOSITION = re.compile(rf"(?:{PREPOSITIONS})\s", re.IGNORECASE)
MIN_LETTERS = 4

MOST = 0.7
"""Share of the members whose captions must have all that a title names. Estimated from a few members and from captions,
so that it is above the 60 % that are promised."""

OFTEN = 0.25
"""Share of the members whose captions must have a phrase that distinguishes."""


@dataclass(frozen=True)
class Title:
    """The title of a cluster, and the phrase that distinguishes it from its siblings, or None."""

    caption: str
    distinctive: str | None


class _Cluster:
    """The captions of one cluster, cut into phrases."""

    def __init__(self, centre: str, members: Sequence[str]) -> None:
        self.candidates = [centre, *members]
        phrases = [phrase for caption in members for phrase in phrases_of(caption)]
        forms: dict[str, Counter[str]] = {}
        for phrase in phrases:
            forms.setdefault(head(phrase), Counter())[phrase] += 1
        self.forms = {one: counts.most_common(1)[0][0] for one, counts in forms.items()}
        self.members = [{head(phrase) for phrase in phrases_of(caption)} for caption in members]

    def share(self, *heads: str) -> float:
        """The share of the members whose captions have all of these."""
        return float(np.mean([member.issuperset(heads) for member in self.members])) if self.members else 0.0

    def supported(self, caption: str) -> list[str]:
        """Heads of the phrases of a caption that most members have, all of them together, in its order."""
        heads = list(dict.fromkeys(one for one in map(head, phrases_of(caption)) if self.share(one) >= MOST))
        while heads and self.share(*heads) < MOST:
            heads.remove(min(heads, key=self.share))
        return heads

    def title_heads(self) -> list[str]:
        """Heads of the title: of the caption with the most supported phrases, else of the most frequent phrase."""
        best = max(map(self.supported, self.candidates), key=lambda heads: (len(heads), self.share(*heads)))
        return best or sorted(self.forms, key=self.share, reverse=True)[:1]


def titles(clusters: Sequence[tuple[str, Sequence[str]]]) -> list[Title]:
    """The titles of sibling clusters.

    Args:
        clusters: of each the caption of its centre, and those of some members.
    """
    read = [_Cluster(centre, members) for centre, members in clusters]
    heads = [cluster.title_heads() for cluster in read]
    joined = [
        sentence([cluster.forms[one] for one in of_title]) if of_title else centre
        for cluster, of_title, (centre, _) in zip(read, heads, clusters, strict=True)
    ]
    counts = Counter(map(frozenset, heads))
    candidates = [
        # Of a title that siblings share, another phrase has to tell them apart.
        [one for one in cluster.forms if one not in of_title and cluster.share(one) >= OFTEN]
        if counts[frozenset(of_title)] > 1
        else of_title
        if len(of_title) > 1
        else []
        for cluster, of_title in zip(read, heads, strict=True)
    ]
    return [Title(title, _distinctive(read, i, candidates[i])) for i, title in enumerate(joined)]


def _distinctive(clusters: list[_Cluster], i: int, candidates: Sequence[str]) -> str | None:
    """The one of these phrases of cluster ``i`` with the largest margin over its siblings, given by heads."""
    own = clusters[i]
    others = [cluster for cluster in clusters if cluster is not own]
    if not candidates or not others:
        return None

    def margin(one: str) -> float:
        return own.share(one) - float(np.mean([other.share(one) for other in others]))

    best = max(candidates, key=margin)
    return own.forms[best] if margin(best) > 0 else None


def sentence(phrases: Sequence[str]) -> str:
    """Phrases as one text: things first, then where they are.

    >>> sentence(["a dolphin", "a sailboat", "in the sea"])
    'a dolphin and a sailboat in the sea'
    """
    where = [phrase for phrase in phrases if OPENS_WITH_PREPOSITION.match(phrase)]
    things = [phrase for phrase in phrases if phrase not in where]
    listed = " and ".join(filter(None, [", ".join(things[:-1]), *things[-1:]]))
    return " ".join(filter(None, [listed, *where]))


def head(phrase: str) -> str:
    """The last word of a phrase, in English mostly its noun, without a plural's s.

    >>> head("two young girls"), head("on a wooden table")
    ('girl', 'table')
    """
    word = phrase.rsplit(maxsplit=1)[-1].lower()
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) >= MIN_LETTERS else word


def phrases_of(caption: str) -> list[str]:
    """The phrases of a caption, cut at commas, at "and" and before prepositions.

    >>> phrases_of("A photo of a robot, two girls and a cook in a park.")
    ['a robot', 'two girls', 'a cook', 'in a park']
    """
    pieces = CUTS.split(OPENING.sub("", caption.strip()))
    phrases = [piece.strip() for piece in pieces]
    return [phrase[:1].lower() + phrase[1:] for phrase in phrases if sum(map(str.isalpha, phrase)) >= MIN_LETTERS]
