"""The processes that train one model together, as ``torchrun`` starts them; alone, there is one."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import compress
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

TIMEOUT = timedelta(hours=6)
"""How long the other processes wait while the main one evaluates and saves."""

BUCKET_ELEMENTS = 2**24
"""Numbers of gradients in one all_reduce, about 64 MB: few calls, and no second copy of a large model's gradients."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class Distributed:
    """One process among those that train together, as ``torch.distributed`` counts them.

    Attributes:
        rank: index of this process.
        world_size: number of processes.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process logs, evaluates and saves."""
        return self.rank == 0

    def shard(self, rows: Sequence[Row]) -> list[Row]:
        """The rows of a step that fall to this process."""
        return list(rows[self.rank :: self.world_size])

    def sum(self, value: int) -> int:
        """The sum of the value over all processes."""
        if self.world_size == 1:
            return value
        summed = torch.tensor(value, device=_device())
        dist.all_reduce(summed)
        return int(summed)

    def all_gather(self, rows: Tensor) -> Tensor:
        """All processes' rows ``[b, d]``, however many each has; the gradient flows back to each.

        Where every process computes the same loss of all rows, the gradient of each row is the sum over processes, and
        :meth:`average_gradients` makes it that of one process with all rows.
        """
        if self.world_size == 1:
            return rows
        from torch.distributed.nn.functional import all_gather

        counts = [torch.zeros((), dtype=torch.long, device=rows.device) for _ in range(self.world_size)]
        dist.all_gather(counts, torch.tensor(len(rows), device=rows.device))
        longest = int(torch.stack(counts).max())
        padded = nn.functional.pad(rows, (0, 0, 0, longest - len(rows)))
        return torch.cat([part[: int(count)] for part, count in zip(all_gather(padded), counts, strict=True)])

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gives every process the mean of all processes' gradients."""
        if self.world_size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        used = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int8, device=_device())
        dist.all_reduce(used, dist.ReduceOp.MAX)
        gradients = []
        for parameter in compress(trained, used.tolist()):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = parameters_to_vector(bucket)
            dist.all_reduce(flat)
            vector_to_parameters(flat.div_(self.world_size), bucket)

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.world_size > 1:
            dist.barrier()

    def shutdown(self) -> None:
        """Leaves the process group; a process that exits without it may abort in the middle of its threads."""
        if self.world_size > 1:
            dist.barrier()
            dist.destroy_process_group()


def init_distributed(device: str) -> Distributed:
    """Joins the processes that ``torchrun`` started beside this one, if it did."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Distributed()
    if not dist.is_initialized():
        on_gpu = device != "cpu" and torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    return Distributed(dist.get_rank(), world_size)


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        bucket.append(gradient)
        if sum(map(Tensor.numel, bucket)) >= BUCKET_ELEMENTS:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
