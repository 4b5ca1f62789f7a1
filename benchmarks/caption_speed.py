"""Captioning 64 embeddings against ClipCap's own procedure, on GPT-2 small's architecture with random weights.

ClipCap captions one embedding at a time and recomputes the whole prefix for every token, without a key-value cache;
``generate2`` of its notebook is greedy after a top-p filter, ``generate_beam`` keeps five beams. Its time per caption
is constant, so each round times only one. Prints the ratio of captions per second.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from _timing import conditions, median_seconds, parse_flags
from encode_speed import general_gpt_directory
from torch import Tensor

from clipgpt_retrieval.engine import load

EMBEDDINGS = 64
TOKENS = 20
BEAMS = 5
TIMED_CLIPCAP = 1


class ClipCap:
    """ClipCap's procedure on a model, as in its notebook, for ``TOKENS`` tokens."""

    def __init__(self, gpt: torch.nn.Module) -> None:
        self._gpt = gpt
        self._embed = gpt.get_input_embeddings()

    @torch.no_grad()
    def greedy(self, prefix: Tensor) -> Tensor:
        """``generate2``: ids ``[t]`` for a prefix ``[1, p, h]``."""
        vectors, tokens = prefix, []
        for _ in range(TOKENS):
            logits = self._gpt(inputs_embeds=vectors, use_cache=False).logits[:, -1]  # [1, vocabulary]
            by_rank, ids = torch.sort(logits, descending=True)
            beyond = torch.cumsum(torch.softmax(by_rank, -1), -1) > 0.8
            beyond[..., 1:] = beyond[..., :-1].clone()
            beyond[..., 0] = False
            logits[:, ids[beyond]] = -torch.inf
            tokens.append(logits.argmax(-1, keepdim=True))
            vectors = torch.cat([vectors, self._embed(tokens[-1])], dim=1)
        return torch.cat(tokens, dim=1)[0]

    @torch.no_grad()
    def beam(self, prefix: Tensor) -> Tensor:
        """``generate_beam``: ids ``[beams, t]`` for a prefix ``[1, p, h]``; all beams have the same length."""
        vectors, tokens, scores = prefix, None, None
        for _ in range(TOKENS):
            logits = self._gpt(inputs_embeds=vectors, use_cache=False).logits[:, -1]
            logprobs = logits.softmax(-1).log()
            if scores is None:
                scores, new = logprobs.topk(BEAMS, -1)  # [1, beams]
                vectors = vectors.expand(BEAMS, -1, -1)
                new, scores = new.permute(1, 0), scores.squeeze(0)
                tokens = new
            else:
                total = scores[:, None] + logprobs  # [beams, vocabulary]
                scores, flat = total.view(-1).topk(BEAMS)
                source, new = flat // logprobs.shape[1], (flat % logprobs.shape[1])[:, None]
                tokens = torch.cat([tokens[source], new], dim=1)
                vectors = vectors[source]
            vectors = torch.cat([vectors, self._embed(new).view(BEAMS, 1, -1)], dim=1)
        return tokens


def main() -> None:
    args = parse_flags(__doc__, runs=3)
    with tempfile.TemporaryDirectory() as folder:
        general_gpt_directory(Path(folder))
        engine, exact = load(folder, device="cpu"), load(folder, device="cpu", dtype="float32")
    embeddings = np.random.default_rng(0).normal(size=(EMBEDDINGS, engine.clip_dim)).astype(np.float32)
    clipcap = ClipCap(exact.model.backbone)
    prompt = torch.tensor(exact.sequences.caption_prompt_ids())[None]  # [1, p]
    with torch.no_grad():
        prefixes = [exact.model.embed(prompt, torch.tensor(row)[None]) for row in embeddings[:TIMED_CLIPCAP]]
    sides = {
        "ClipCap, greedy": lambda: [clipcap.greedy(prefix) for prefix in prefixes],
        "ours, greedy": lambda: engine.caption(embeddings, max_new_tokens=TOKENS),
        "ClipCap, 5 beams": lambda: [clipcap.beam(prefix) for prefix in prefixes],
        "ours, 5 beams": lambda: engine.caption(embeddings, max_new_tokens=TOKENS, num_beams=BEAMS),
    }
    taken = median_seconds(sides, args)
    counts = {name: EMBEDDINGS if name.startswith("ours") else TIMED_CLIPCAP for name in sides}
    speeds = {name: counts[name] / taken[name] for name in sides}
    for name, speed in speeds.items():
        print(f"{name}: {speed:.2f} captions per second")
    print(f"{conditions(args)}, {engine.precision}")
    for kind in ("greedy", "5 beams"):
        print(f"ratio, {kind}: {speeds[f'ours, {kind}'] / speeds[f'ClipCap, {kind}']:.1f}")


if __name__ == "__main__":
    main()
