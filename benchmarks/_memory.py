"""How the benchmarks read memory, in megabytes.

Not by getrusage: on Linux the peak that it tells of a process begins with that of the one that started it.
"""

import os
from pathlib import Path


def peak_megabytes() -> int:
    """The most that this process has held so far."""
    return _peak(_status(Path("/proc/self/status")))


def peak_megabytes_of_children(name: str) -> int:
    """The most that a child of this process has held so far, of those that run a program now; 0 where none does.

    Args:
        name: the program's. A child that has not begun it yet still holds its parent's memory.
    """
    statuses = []
    for file in Path("/proc").glob("[0-9]*/status"):
        try:
            statuses.append(_status(file))
        except OSError:  # it has ended meanwhile
            continue
    children = [status for status in statuses if status["PPid"] == str(os.getpid()) and status["Name"] == name]
    return max((_peak(status) for status in children if "VmHWM" in status), default=0)


def _status(file: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in file.read_text().splitlines() if ":\t" in line)


def _peak(status: dict[str, str]) -> int:
    return int(status["VmHWM"].split()[0]) // 1024
