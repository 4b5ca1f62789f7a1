"""The command line: every command of ``clipgpt-retrieval``."""

import json
import sys
from collections.abc import Callable
from typing import Any

from clipgpt_retrieval.errors import ClipGptError


def encode(*texts: str, model: str, space: str = "query", output: str | None = None, device: str = "auto") -> None:
    """Predicts the CLIP image embeddings of texts.

    Args:
        *texts: what to encode.
        model: clipgpt model: directory, hub id or fsspec url.
        space: query (to search with) or image (the guess at the picture).
        output: an .npy file for the embeddings [n, clip_dim]; without it they are printed as JSON, one a line.
        device: auto, cpu, cuda or mps.
    """
    from clipgpt_retrieval.engine import load
    from clipgpt_retrieval.errors import InputError

    if not texts:
        raise InputError("texts", 'are missing: clipgpt-retrieval encode --model MODEL "two giraffes"')
    embeddings = load(model, device=device).encode([str(text) for text in texts], space=space)
    if output is None:
        for embedding in embeddings:
            print(json.dumps([round(float(number), 6) for number in embedding]))
        return
    from clipgpt_retrieval.storage import write_array

    write_array(output, embeddings)
    print(f"{output} holds {len(embeddings)} embeddings of {embeddings.shape[1]} numbers")


def caption(
    embeddings: str,
    model: str,
    rows: int | None = None,
    num_captions: int = 1,
    num_beams: int = 1,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    top_p: float = 1.0,
    device: str = "auto",
) -> None:
    """Captions embeddings, one JSON line each.

    Args:
        embeddings: an .npy file [n, clip_dim], as clip-retrieval writes them.
        model: clipgpt model: directory, hub id or fsspec url.
        rows: only the first so many.
        num_captions: captions for each.
        num_beams: beams of the search.
        max_new_tokens: longest caption, in tokens.
        temperature: 0 takes the likeliest, above 0 samples.
        top_p: sample among the likeliest tokens that hold this much probability.
        device: auto, cpu, cuda or mps.
    """
    from tqdm import tqdm

    from clipgpt_retrieval.engine import load
    from clipgpt_retrieval.storage import read_array

    vectors = read_array(embeddings)[:rows]
    engine = load(model, device=device)
    batch_size = 64
    for start in tqdm(range(0, len(vectors), batch_size), unit="batch", disable=len(vectors) <= batch_size):
        batch = engine.captions(
            vectors[start : start + batch_size],
            num_captions=num_captions,
            num_beams=num_beams,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
        )
        for row, captions in enumerate(batch, start):
            found = [{"text": one.text, "logprob": round(one.logprob, 4)} for one in captions]
            print(json.dumps({"id": row, "captions": found}, ensure_ascii=False))


def enable() -> None:
    """Turns the plugin on: plain `clip-retrieval back --clipgpt_model MODEL` then uses CLIP-GPT."""
    from clipgpt_retrieval.plugin import enable as run

    print(run())


def disable() -> None:
    """Turns the plugin off and gives clip-retrieval back as it was."""
    from clipgpt_retrieval.plugin import disable as run

    print(run())


def status() -> None:
    """Tells whether the plugin is on, and where."""
    from clipgpt_retrieval.plugin import status as run

    print(run())


def _commands() -> dict[str, Callable[..., Any]]:
    from clipgpt_retrieval.back import serve
    from clipgpt_retrieval.bench.command import bench
    from clipgpt_retrieval.demo.command import demo
    from clipgpt_retrieval.doctor import doctor
    from clipgpt_retrieval.evaluation.command import evaluate
    from clipgpt_retrieval.explore.command import explore
    from clipgpt_retrieval.model.command import convert
    from clipgpt_retrieval.training.command import train

    return {
        "demo": demo,
        "back": serve,
        "enable": enable,
        "disable": disable,
        "status": status,
        "doctor": doctor,
        "train": train,
        "evaluate": evaluate,
        "encode": encode,
        "caption": caption,
        "explore": explore,
        "bench": bench,
        "convert": convert,
    }


def main() -> None:
    """Runs a command; what the user can put right is told in one line, with exit status 2."""
    import fire

    # fire before 0.6, which clip-retrieval needs, asks IPython for its help texts, and that of 9.0 on refuses it.
    sys.modules.setdefault("IPython", None)  # type: ignore[arg-type]
    try:
        fire.Fire(_commands(), name="clipgpt-retrieval")
    except ClipGptError as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str) -> int:
    print(f"clipgpt-retrieval: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
