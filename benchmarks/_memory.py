"""Peak memory for the benchmarks, in megabytes, from /proc.

On Linux, getrusage would include the peak of the parent process.
"""

import os
from pathlib import Path


def peak_megabytes() -> int:
    """Peak resident memory of this process."""
    return _peak(_status(Path("/proc/self/status")))


def peak_megabytes_of_children(name: str) -> int:
    """The highest peak resident memory of the children that run a program now; 0 where none does.

    Args:
        name: of the program. A child before its exec, which still shares its parent's memory, is not counted.
    """
    statuses = []
    for file in Path("/proc").glob("[0-9]*/status"):
        try:
            statuses.append(_status(file))
        except OSError:  # the process has ended
            continue
    children = [status for status in statuses if status["PPid"] == str(os.getpid()) and status["Name"] == name]
    return max((_peak(status) for status in children if "VmHWM" in status), default=0)


def _status(file: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in file.read_text().splitlines() if ":\t" in line)


def _peak(status: dict[str, str]) -> int:
    return int(status["VmHWM"].split()[0]) // 1024


def current_megabytes() -> int:
    """Resident memory of this process now; pages of mapped files that it has touched count."""
    return int(_status(Path("/proc/self/status"))["VmRSS"].split()[0]) // 1024
