"""Claim: importing the package and its client, and showing the help, are quick.

Runs each several times in a new process, alternating with a Python process that does nothing. Prints the median CPU
time beyond that of the latter, in milliseconds, and its ratio to the allowed time. CPU time depends less on other load.

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
    """Prints a line for each claim; the exit status is 1 where one does not hold."""
    programs = [NOTHING, *ALLOWED_MS]
    times: dict[str, list[float]] = {program: [] for program in programs}
    for round_number in tqdm(range(ROUNDS + 1), unit="round"):
        for program in programs:
            taken = milliseconds(program)
            if round_number > 0:  # the first round fills the disk cache
                times[program].append(taken)
    empty = statistics.median(times[NOTHING])
    print(f"a Python process that does nothing: {empty:.0f} ms")
    failed = False
    for program, allowed in ALLOWED_MS.items():
        # Paired by round, so that other load affects both alike.
        taken = statistics.median(one - nothing for one, nothing in zip(times[program], times[NOTHING], strict=True))
        print(f"{taken:6.1f} ms of {allowed:4} allowed, ratio {taken / allowed:.2f}: {program}")
        failed |= taken > allowed
    sys.exit(failed)


def milliseconds(program: str) -> float:
    """CPU time of a process that runs the program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
