"""The SLURM job script, checked by stand-ins for sbatch and srun that run it on this machine."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bulk_helpers import contents, some_texts, write_lines

from clipgpt_retrieval.bulk.distributor import SequentialDistributor
from clipgpt_retrieval.bulk.main import run_job
from clipgpt_retrieval.bulk.slurm_distributor import SlurmDistributor
from clipgpt_retrieval.errors import DataError, InputError

SBATCH = """#!{python}
import os, re, subprocess, sys
assert sys.argv[1:] == ["--wait"], sys.argv
script = sys.stdin.read()
assert script.startswith("#!/bin/bash\\n")
flags = dict(re.findall(r"^#SBATCH --([\\w-]+)=(.*)$", script, re.M))
assert flags["partition"] == "gpu", flags
tasks = int(flags["nodes"]) * int(flags["ntasks-per-node"])
environment = {{**os.environ, "SLURM_NTASKS": str(tasks), "SLURM_CPUS_PER_TASK": flags["cpus-per-task"]}}
sys.exit(subprocess.run(["bash", "-c", script], env=environment).returncode)
"""

SRUN = """#!{python}
import os, subprocess, sys
assert os.environ["SRUN_CPUS_PER_TASK"] == "1"
command = [argument for argument in sys.argv[1:] if argument != "--kill-on-bad-exit=0"]
tasks = [
    subprocess.Popen(command, env={{**os.environ, "SLURM_PROCID": str(rank)}})
    for rank in range(int(os.environ["SLURM_NTASKS"]))
]
sys.exit(max([task.wait() for task in tasks]))
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> SlurmDistributor:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return SlurmDistributor(2, 1, "--partition=gpu --cpus-per-task=1")


@pytest.mark.slow
def test_two_tasks_share_a_job(slurm, encode_job, tmp_path):
    write_lines(encode_job.source, some_texts(60))
    alone = replace(encode_job, output_folder=str(tmp_path / "alone"))
    run_job(alone, SequentialDistributor())
    result = run_job(encode_job, slurm)
    assert result["rows_done"] == 60 and result["failed"] == []
    assert contents(encode_job.output_folder) == contents(alone.output_folder)
    assert len(list((Path(encode_job.output_folder) / "stats").glob("*.json"))) == 2


def test_flags_are_quoted_in_the_script(tmp_path):
    script = SlurmDistributor(3, 8, '--gpus-per-task=1 --comment="two words"').script(str(tmp_path / "a b.json"))
    assert "#SBATCH --nodes=3\n#SBATCH --ntasks-per-node=8\n#SBATCH --gpus-per-task=1\n" in script
    assert "#SBATCH '--comment=two words'\n" in script
    assert script.rstrip().endswith("a b.json'")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_without_slurm(encode_job, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    write_lines(encode_job.source, some_texts(5))
    with pytest.raises(InputError, match="slurm needs sbatch"):
        run_job(encode_job, SlurmDistributor(1, 1, ""))


def test_the_error_of_sbatch_is_shown(encode_job, monkeypatch, tmp_path):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    write_lines(encode_job.source, some_texts(5))
    with pytest.raises(DataError, match="exit status 1: sbatch: error: invalid partition"):
        run_job(encode_job, SlurmDistributor(1, 1, ""))
