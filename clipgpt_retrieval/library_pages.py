"""Pages of shared libraries, let go once they were read: linking PyTorch reads 200 MB that nothing reads again."""

import ctypes
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

REGIONS = Path("/proc/self/smaps")
REGION = re.compile(r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<rights>\S+) \S+ \S+ \d+ +(?P<file>.*)")


def let_go_of_libraries() -> None:
    """Drops from memory what is only a copy of a library's file; what is needed again is read again.

    Nothing happens on systems other than Linux.
    """
    if not REGIONS.exists():
        return
    c_library = ctypes.CDLL(None)
    for start, end in _unchanged_regions(REGIONS.read_text()):
        c_library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def _unchanged_regions(told: str) -> Iterator[tuple[int, int]]:
    """First address and the one behind the last, of each part of a library that can and did never change."""
    region = None
    for line in told.splitlines():
        if found := REGION.fullmatch(line):
            # Without the right to write, a page is changed by the linker alone, before it gives that right up.
            region = found if ".so" in found["file"] and "w" not in found["rights"] else None
        elif region is not None and line.split() == ["Anonymous:", "0", "kB"]:
            yield int(region["start"], 16), int(region["end"], 16)
