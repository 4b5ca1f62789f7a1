"""Rows of a forward pass: batches of their numbers, and their ids padded to one length."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from clipgpt_retrieval.errors import InputError


def batches(rows: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Consecutive batches of rows.

    Raises:
        InputError: the batch size is below 1.
    """
    if batch_size < 1:
        raise InputError("batch_size", f"is {batch_size}, it must be at least 1")
    return (list(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size))


def padded(ids: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Right-padded ids and their attention mask, int64 ``[b, t]`` each."""
    rows = [torch.tensor(row) for row in ids]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return pad_sequence(rows, batch_first=True).to(device), mask.to(device)
