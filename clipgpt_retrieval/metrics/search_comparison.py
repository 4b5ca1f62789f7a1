"""How the parts of a search compare: CLIP's text tower, CLIP-GPT and both, with and without the hub correction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipgpt_retrieval.metrics.retrieval import scores
from clipgpt_retrieval.metrics.search_choice import CLIPGPT, TOWER, Settings, Situation
from clipgpt_retrieval.metrics.uncertainty import Estimate, ImageBootstrap

SHOWN = ("R@1", "R@10")


@dataclass(frozen=True)
class SearchComparison:
    """Metrics of the parts of a search.

    Attributes:
        clipgpt_weight: of the model.
        hub_strength: of the model.
        text_embeddings: whether CLIP's text embeddings of the queries were available.
        queries: number of queries, by situation.
        metrics: R@1 and R@10, by situation and part.
    """

    clipgpt_weight: float
    hub_strength: float
    text_embeddings: bool
    queries: dict[str, int]
    metrics: dict[str, dict[str, dict[str, Estimate]]]

    def as_text(self) -> str:
        """The comparison for people, with 95 % confidence intervals."""
        lines = ["search, with 95 % confidence intervals over images:"]
        for situation, by_part in self.metrics.items():
            lines.append(f"  {situation} ({self.queries[situation]} captions)")
            for part, metrics in by_part.items():
                shown = "   ".join(f"{name} {_interval(value)}" for name, value in metrics.items())
                lines.append(f"    {part:30}{shown}")
        return "\n".join([*lines, self.verdict])

    @property
    def verdict(self) -> str:
        """What the model uses, in a sentence."""
        strength = self.hub_strength
        correction = f"a hub correction of strength {strength}" if strength else "no hub correction"
        if not self.text_embeddings:
            return f"without CLIP's text embeddings of captions, searches use CLIP-GPT alone, with {correction}"
        if not self.clipgpt_weight:
            return (
                "CLIP-GPT did not improve on CLIP's text tower: searches use the tower alone (clipgpt_weight 0), with "
                f"{correction}"
            )
        return f"searches use CLIP-GPT with weight {self.clipgpt_weight} beside CLIP's text tower, and {correction}"


def compare_parts(situations: Sequence[Situation], chosen: Settings, seed: int) -> SearchComparison:
    """R@1 and R@10 of the parts of a search in each situation.

    Args:
        situations: all with text embeddings, or all without.
        chosen: the settings of the model.
        seed: of the confidence intervals.
    """
    with_texts = all(situation.queries.texts is not None for situation in situations)
    parts = {"CLIP-GPT": CLIPGPT, "CLIP-GPT, corrected": replace(CLIPGPT, strength=chosen.strength)}
    if with_texts:
        tower = replace(TOWER, strength=chosen.strength, text_mean=chosen.text_mean)
        both = replace(chosen, strength=0.0)
        parts |= {"CLIP's text tower": TOWER, "CLIP's text tower, corrected": tower, "both": both}
        parts["both, corrected"] = chosen
    return SearchComparison(
        chosen.weight,
        chosen.strength,
        with_texts,
        {situation.name: len(situation.queries) for situation in situations},
        {
            situation.name: {name: _metrics(situation, settings, seed) for name, settings in parts.items()}
            for situation in situations
        },
    )


def _interval(value: Estimate) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _metrics(situation: Situation, settings: Settings, seed: int) -> dict[str, Estimate]:
    bootstrap = ImageBootstrap(situation.truth, seed)
    by_name = scores(situation.ranks(settings))
    return {name: bootstrap.mean(by_name[name]) for name in SHOWN}
