"""A forked process can use an engine: gunicorn's workers, multiprocessing and Spark fork."""

import sys

from support import run

FORKS = """
import os
import signal
import sys
import torch
import clipgpt_retrieval as cg

torch.set_num_threads(2)
model = cg.load("demo", device="cpu")
texts = ["a dog on the beach"] * 64
expected = model.encode(texts)
torch.randn(1000, 1000) @ torch.randn(1000, 1000)  # starts OpenMP's threads
child = os.fork()
if not child:
    signal.alarm(60)
    close = abs(model.encode(texts) - expected).max() < 1e-4
    os._exit(0 if close and len(model.caption(expected[:2])) == 2 else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_an_engine_used_before_a_fork_works_in_the_child():
    """It waited forever for threads that the fork had not copied."""
    run(sys.executable, "-c", FORKS, check=True)
