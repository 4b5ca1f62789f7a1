"""How the parts of a search compare on validation images: CLIP's text tower, CLIP-GPT and both."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from clipgpt_retrieval.metrics.retrieval import scores
from clipgpt_retrieval.metrics.search_choice import CLIPGPT, TOWER, Settings, Situation
from clipgpt_retrieval.metrics.uncertainty import ImageBootstrap
from clipgpt_retrieval.model.module import ClipGptModel

SHOWN = ("R@1", "R@10")


def settings_of(model: ClipGptModel) -> Settings:
    """The settings that a model stores."""
    return Settings(model.config.clipgpt_weight, model.config.hub_strength, model.search.text_mean)


def compare(situations: Sequence[Situation], chosen: Settings, seed: int) -> dict[str, Any]:
    """The settings of a search, and R@1 and R@10 of its parts in each situation, JSON-serialisable.

    Args:
        situations: of the validation images.
        chosen: by training.
        seed: of the confidence intervals.
    """
    with_texts = situations[0].queries.texts is not None
    parts = {"CLIP-GPT": CLIPGPT, "CLIP-GPT, corrected": replace(CLIPGPT, strength=chosen.strength)}
    if with_texts:
        tower = replace(TOWER, strength=chosen.strength, text_mean=chosen.text_mean)
        both = replace(chosen, strength=0.0)
        parts |= {"CLIP's text tower": TOWER, "CLIP's text tower, corrected": tower, "both": both}
        parts["both, corrected"] = chosen
    metrics = {
        situation.name: {name: _metrics(situation, settings, seed) for name, settings in parts.items()}
        for situation in situations
    }
    return {
        "clipgpt_weight": chosen.weight,
        "hub_strength": chosen.strength,
        "queries": len(situations[0].queries),
        "text_embeddings": with_texts,
        "metrics": metrics,
    }


def as_text(search: dict[str, Any]) -> str:
    """A result of :func:`compare` for people."""
    lines = [f"search, on {search['queries']} captions of validation images (95 % confidence intervals):"]
    for situation, by_part in search["metrics"].items():
        lines.append(f"  among {situation}")
        for part, metrics in by_part.items():
            shown = "   ".join(f"{name} {_interval(value)}" for name, value in metrics.items())
            lines.append(f"    {part:30}{shown}")
    return "\n".join([*lines, _verdict(search)])


def _verdict(search: dict[str, Any]) -> str:
    weight, strength = search["clipgpt_weight"], search["hub_strength"]
    correction = f"a hub correction of strength {strength}" if strength else "no hub correction"
    if not search["text_embeddings"]:
        return f"without CLIP's text embeddings of captions, searches use CLIP-GPT alone, with {correction}"
    if not weight:
        return (
            "CLIP-GPT did not improve on CLIP's text tower: searches use the tower alone (clipgpt_weight 0), with "
            f"{correction}"
        )
    return f"searches use CLIP-GPT with weight {weight} beside CLIP's text tower, and {correction}"


def _interval(value: dict[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _metrics(situation: Situation, settings: Settings, seed: int) -> dict[str, dict[str, float]]:
    bootstrap = ImageBootstrap(situation.truth, seed)
    by_name = scores(situation.ranks(settings))
    return {name: asdict(bootstrap.mean(by_name[name])) for name in SHOWN}
