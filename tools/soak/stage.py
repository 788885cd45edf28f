"""The run under test: the commands that make it, the tasks that Slurm runs for it, and whether it moves."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from jobs.store.journal import journals
from jobs.store.rundir import RunDir
from tools.slurm import Cluster
from tools.slurm.processes import Process, end, matching
from tools.slurm.programs import clean_environment

SAMPLES, SHARD_SIZE = 48, 4
# No forecasting, which would make samples cheap: a fault shall mostly meet one in the making.
OPTIONS = ("exp_name=run", f"shard_size={SHARD_SIZE}", "num_inference_steps=20", "batch_size=1", "algo=nocache")
LAUNCHER = (
    *("-m", "hydra/launcher=submitit_slurm", "hydra.launcher.gpus_per_node=1", "hydra.launcher.cpus_per_task=1"),
    *("shards_per_task=3", "device=cpu"),
)
FAST = {"JOBS_PATIENCE": "0.5", "OMP_NUM_THREADS": "1"}


def write_prompts(path: Path) -> Path:
    """Write as many prompts as a round has samples."""
    colours, shapes = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle")
    path.write_text("".join(f"a {colours[i % 4]} {shapes[i % 3]} on a white background\n" for i in range(SAMPLES)))
    return path


def make_reference(folder: Path, prompts: Path) -> Path:
    """Make the same dataset on this machine, undisturbed, where that has not been done yet; return its directory."""
    words = [sys.executable, "-m", "jobs.generate", *OPTIONS, "device=cpu"]
    words += [f"prompt_file={prompts}", f"output_base_path={folder}"]
    environment = clean_environment() | FAST
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return folder / "run"


@dataclass
class Stage:
    """One round's run.

    Attributes:
        cluster: the Slurm that it uses.
        folder: holds the run; on a file system of its own, which can be filled.
        prompts: the prompt file.
        logs: holds the output of each command.
        commands: those that were started, newest last.
    """

    cluster: Cluster
    folder: Path
    prompts: Path
    logs: Path
    commands: list[subprocess.Popen] = field(default_factory=list)

    @property
    def run(self) -> RunDir:
        """The run's directory."""
        return RunDir(self.folder / "run")

    def start(self) -> None:
        """Give the command that makes the dataset."""
        words = [sys.executable, "-m", "jobs.generate", *LAUNCHER, *OPTIONS]
        words += [f"prompt_file={self.prompts}", f"output_base_path={self.folder}"]
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"command-{len(self.commands):03d}.log").open("wb") as log:
            self.commands.append(
                subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=clean_environment() | self.cluster.env() | FAST,
                    start_new_session=True,
                )
            )

    def waiting(self) -> list[subprocess.Popen]:
        """Return the commands that have not ended."""
        return [command for command in self.commands if command.poll() is None]

    def succeeded(self) -> bool:
        """Tell whether the newest command that ended said that all is done."""
        ended = [command for command in self.commands if command.poll() is not None]
        return bool(ended) and ended[-1].returncode == 0

    def tasks(self) -> list[Process]:
        """Return the Python processes of this cluster's running tasks."""
        conf = self.cluster.env()["SLURM_CONF"]
        return matching(
            lambda seen: (
                seen.name.startswith("python")
                and seen.environment.get("SLURM_CONF") == conf
                and "SLURM_JOB_ID" in seen.environment
            )
        )

    def jobs(self, state: str) -> list[str]:
        """Return the ids of jobs in a state, such as RUNNING; none where the controller does not answer."""
        answer = self.cluster.run("squeue", "-h", "-r", "-t", state, "-o", "%i", timeout=15)
        return answer.stdout.split() if answer.returncode == 0 else []

    def release(self) -> int:
        """Let jobs start that Slurm holds back for two minutes after a requeue, or for good; return how many.

        The second is what an administrator would do after a node broke down.
        """
        answer = self.cluster.run("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i %r", timeout=15)
        released = 0
        for line in answer.stdout.splitlines() if answer.returncode == 0 else ():
            job, _, reason = line.strip().partition(" ")
            if "held" in reason.lower():
                released += not self.cluster.run("scontrol", "release", job).returncode
            elif reason == "BeginTime":
                released += not self.cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now").returncode
        return released

    def progress(self) -> tuple[int, ...]:
        """Return numbers that change while the run moves: done shards, attempts, samples."""
        seen = list(journals(self.run))
        return (
            len(self.run.done_shards()),
            *sorted(hash(journal.path.name) for journal in seen),
            sum(len(journal.samples) for journal in seen),
        )

    def end(self) -> None:
        """End the commands and cancel the jobs."""
        for command in self.waiting():
            end([Process.of(command.pid)], grace=5.0)
            command.wait()
        jobs = self.jobs("all")
        if jobs:
            self.cluster.run("scancel", "--quiet", *jobs)
        for process in self.tasks():
            process.signal(9)


def is_mounted(folder: Path) -> bool:
    """Tell whether a file system begins at that folder."""
    return folder.exists() and os.path.ismount(folder)
