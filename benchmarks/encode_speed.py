"""Encoding by one forward pass against the notebook's procedure, on GPT-2 small's architecture with random weights.

General-GPT's notebook calls ``generate`` for up to 50 new tokens, keeps all hidden states and counts back from the end
to the one at ``[CLIP OUT]``, which one forward pass computes. Random weights generate all 50 tokens; trained ones may
stop earlier. Both sides alternate in one process, the notebook's in float32, ours in the dtype that ``load`` chooses.
Prints the ratio of the medians.
"""

import tempfile
from pathlib import Path

import torch
from _paths import GPT2_BPE
from _timing import conditions, median_seconds, parse_flags
from transformers import GPT2Config, GPT2LMHeadModel

from clipgpt_retrieval.engine import load
from clipgpt_retrieval.training.backbone import load_tokenizer

TEXT = "A children's birthday party."


def general_gpt_directory(folder: Path) -> None:
    """Writes a General-GPT directory with GPT-2 small's architecture and random weights."""
    from clipgpt_retrieval.model.config import SPECIAL_TOKENS

    tokenizer = load_tokenizer(str(GPT2_BPE))
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    args = parse_flags(__doc__, runs=7)
    with tempfile.TemporaryDirectory() as folder:
        general_gpt_directory(Path(folder))
        engine, exact = load(folder, device="cpu"), load(folder, device="cpu", dtype="float32")
    tokenizer, gpt = exact.sequences.tokenizer, exact.model.backbone

    def notebook() -> torch.Tensor:
        with torch.no_grad():
            outputs = gpt.generate(
                **tokenizer(f"Caption: [{TEXT}].", return_tensors="pt"),
                return_dict_in_generate=True,
                output_hidden_states=True,
                max_new_tokens=50,
                pad_token_id=tokenizer.eos_token_id,
            )
        return outputs["hidden_states"][-3][-1][:, -1]

    taken = median_seconds({"notebook": notebook, "ours": lambda: engine.encode([TEXT])}, args)
    print(f"notebook's procedure {taken['notebook'] * 1e3:.0f} ms, one forward pass {taken['ours'] * 1e3:.1f} ms")
    print(conditions(args))
    print(f"ratio: {taken['ours'] / taken['notebook']:.4f}")


if __name__ == "__main__":
    main()
