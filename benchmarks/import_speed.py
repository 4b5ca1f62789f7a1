"""Claim: the package, its client and its help are there at once.

Each is started several times in a process of its own, beside a Python that does nothing; medians of the processor time
in milliseconds, less what that Python takes, and the share of the allowed time that was used. Processor time, since
what else a machine does makes no import slower.

    python benchmarks/import_speed.py
"""

import resource
import statistics
import subprocess
import sys

from tqdm import tqdm

ROUNDS = 15
NOTHING = "pass"
ALLOWED_MS = {
    "import clipgpt_retrieval": 5,
    "from clipgpt_retrieval import ClipGptClient": 300,
    "import sys; sys.argv[1:] = ['--help']; from clipgpt_retrieval.cli import main; main()": 1000,
}


def main() -> None:
    """Prints one line a claim; exit status 1 where one does not hold."""
    programs = [NOTHING, *ALLOWED_MS]
    times: dict[str, list[float]] = {program: [] for program in programs}
    for round_number in tqdm(range(ROUNDS + 1), unit="round"):
        for program in programs:
            taken = milliseconds(program)
            if round_number > 0:  # the first fills the disk's cache
                times[program].append(taken)
    empty = statistics.median(times[NOTHING])
    print(f"a Python that does nothing: {empty:.0f} ms")
    late = 0
    for program, allowed in ALLOWED_MS.items():
        # Round by round, so that what else the machine does weighs on both.
        taken = statistics.median(one - nothing for one, nothing in zip(times[program], times[NOTHING], strict=True))
        print(f"{taken:6.1f} ms of {allowed:4} allowed, ratio {taken / allowed:.2f}: {program}")
        late += taken > allowed
    sys.exit(late > 0)


def milliseconds(program: str) -> float:
    """The processor time of a process that runs the program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
