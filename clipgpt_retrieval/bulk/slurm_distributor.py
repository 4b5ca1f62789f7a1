"""The slurm distributor submits one SLURM job whose tasks share the shards, and waits for its end."""

import json
import shlex
import subprocess
import sys
from dataclasses import asdict

from clipgpt_retrieval.bulk.job import Run, Shard
from clipgpt_retrieval.errors import DataError, InputError
from clipgpt_retrieval.storage import write_text


class SlurmDistributor:
    """Workers under SLURM.

    Args:
        nodes: of the job.
        tasks_per_node: workers on each.
        args: further flags for sbatch, as on its command line: partition, account, GPUs and cores per task, time.
    """

    def __init__(self, nodes: int, tasks_per_node: int, args: str) -> None:
        self._nodes = nodes
        self._tasks_per_node = tasks_per_node
        self._args = args

    def __call__(self, run: Run, shards: list[Shard]) -> None:
        folder = f"{run.job.output_folder}/slurm"
        shards_url = f"{folder}/{run.name}.json"
        script = self.script(shards_url)
        document = {**asdict(run), "shards": [asdict(shard) for shard in shards]}
        write_text(shards_url, json.dumps(document))
        write_text(f"{folder}/{run.name}.sh", script)
        try:
            ended = subprocess.run(
                ["sbatch", "--wait"], input=script, text=True, stdout=sys.stderr, stderr=subprocess.PIPE, check=False
            )
        except FileNotFoundError:
            raise InputError(
                "distribution_strategy", "slurm needs sbatch, which is not installed on this machine: use a login node"
            ) from None
        if ended.returncode:
            reason = ended.stderr.strip() or "see its output"
            raise DataError(f"the SLURM job ended with exit status {ended.returncode}: {reason}")

    def script(self, shards_url: str) -> str:
        """The job script for sbatch."""
        flags = [
            "--job-name=clipgpt-retrieval",
            f"--nodes={self._nodes}",
            f"--ntasks-per-node={self._tasks_per_node}",
            *shlex.split(self._args),
        ]
        directives = "\n".join(f"#SBATCH {shlex.quote(flag)}" for flag in flags)
        command = shlex.join([sys.executable, "-m", "clipgpt_retrieval.bulk.slurm_worker", shards_url])
        return f"""#!/bin/bash
{directives}

# srun does not inherit this from sbatch.
export SRUN_CPUS_PER_TASK="${{SLURM_CPUS_PER_TASK:-1}}"
# The other tasks continue if one fails.
srun --kill-on-bad-exit=0 {command}
"""
