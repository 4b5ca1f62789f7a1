"""Timing for the benchmarks: medians of rounds, in each of which every side runs once."""

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
        "--cpu_time",
        action="store_true",
        help="CPU time instead of wall time, for a machine under other load",
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args


def median_seconds(sides: dict[str, Callable[[], object]], args: argparse.Namespace) -> dict[str, float]:
    """The median time of each side over ``args.runs`` rounds, after a warm-up round."""
    clock = time.process_time if args.cpu_time else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.runs + 1):
        for name, call in sides.items():
            started = clock()
            call()
            taken[name].append(clock() - started)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def conditions(args: argparse.Namespace) -> str:
    """The conditions of a measurement."""
    return f"medians of {args.runs}, {args.threads} threads, {'CPU' if args.cpu_time else 'wall'} time"
