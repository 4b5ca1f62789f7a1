"""How the benchmarks take time: medians of rounds in which each side has its turn."""

import argparse
import statistics
import time
from collections.abc import Callable

import torch


def parse_flags(description: str | None, runs: int) -> argparse.Namespace:
    """The flags ``--runs``, ``--threads`` and ``--cpu_time``; sets torch's threads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--cpu_time", action="store_true", help="seconds of this process on the CPU, for a machine that others use"
    )
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    return asked


def median_seconds(sides: dict[str, Callable[[], object]], asked: argparse.Namespace) -> dict[str, float]:
    """The median time of each side over ``asked.runs`` rounds, after one to warm up."""
    clock = time.process_time if asked.cpu_time else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(asked.runs + 1):
        for name, call in sides.items():
            started = clock()
            call()
            taken[name].append(clock() - started)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def conditions(asked: argparse.Namespace) -> str:
    """What the figures were taken under."""
    return f"medians of {asked.runs}, {asked.threads} threads, {'CPU' if asked.cpu_time else 'wall'} time"
