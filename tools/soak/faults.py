"""What is done to a run: each fault hits something at random and tells what, or None if there was nothing to hit."""

import contextlib
import signal
import time
from collections.abc import Callable
from random import Random

from tools.slurm import ClusterError
from tools.slurm.conf import NODES
from tools.slurm.processes import Process, end
from tools.soak.stage import Stage

TRIES = 6  # of half a minute each

Fault = Callable[[Stage, Random], str | None]


def _signal_task(number: signal.Signals) -> Fault:
    def fault(stage: Stage, dice: Random) -> str | None:
        tasks = stage.tasks()
        if not tasks:
            return None
        dice.choice(tasks).signal(number)
        return number.name

    return fault


def suspend(stage: Stage, dice: Random) -> str | None:
    """Stop a process, for so long that its heartbeat may be missed, and let it go on."""
    tasks = stage.tasks()
    if not tasks:
        return None
    task, seconds = dice.choice(tasks), dice.choice([2, 5, 45])
    task.signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        task.signal(signal.SIGCONT)
    return f"for {seconds} s"


def _on_job(*words: str) -> Fault:
    def fault(stage: Stage, dice: Random) -> str | None:
        running = stage.jobs("RUNNING")
        if not running:
            return None
        done = stage.cluster.run(*words, dice.choice(running))
        return " ".join(words) if done.returncode == 0 else None

    return fault


def preempt(stage: Stage, dice: Random) -> str | None:
    """Do as Slurm's preemption does: SIGCONT and SIGTERM, and the requeue after a grace time."""
    running = stage.jobs("RUNNING")
    if not running:
        return None
    job, grace = dice.choice(running), dice.choice([0.5, 3, 10])
    for name in ("CONT", "TERM"):
        stage.cluster.run("scancel", "--full", f"--signal={name}", job)
    time.sleep(grace)
    stage.cluster.run("scontrol", "requeue", job)
    return f"with {grace} s of grace"


def kill_node(stage: Stage, dice: Random) -> str | None:
    """Kill a node's slurmd, and start it again later."""
    node = dice.choice(NODES)
    daemon = stage.cluster.daemons()[node]
    if daemon is None:
        return None
    daemon.signal(signal.SIGKILL)
    return _back(stage, dice.choice([1, 5, 30]))


def restart_controller(stage: Stage, dice: Random) -> str | None:
    """End slurmctld, in one way or the other, and start it again later."""
    daemon = stage.cluster.daemons()["slurmctld"]
    if daemon is None:
        return None
    if dice.random() < 0.5:
        daemon.signal(signal.SIGKILL)
    else:
        end([daemon], grace=20.0)
    return _back(stage, dice.choice([0, 3, 15]))


def _back(stage: Stage, seconds: float) -> str:
    try:
        time.sleep(seconds)
    finally:
        _up(stage)
    return f"for {seconds} s"


def _up(stage: Stage) -> None:
    """Start what does not run; slurmctld may need minutes on a busy machine until it answers again."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(ClusterError):
            return stage.cluster.up()
    return stage.cluster.up()


def fill_disk(stage: Stage, dice: Random) -> str | None:
    """Fill the file system of the run, for a while."""
    filler, seconds = stage.folder / "filler", dice.choice([2, 6, 15])
    try:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        time.sleep(seconds)
    finally:
        filler.unlink(missing_ok=True)
    return f"for {seconds} s"


def kill_command(stage: Stage, dice: Random) -> str | None:
    """Kill the command that waits, as a lost connection to the login node may."""
    waiting = stage.waiting()
    if not waiting:
        return None
    Process.of(dice.choice(waiting).pid).signal(signal.SIGKILL)
    return "SIGKILL"


def second_command(stage: Stage, dice: Random) -> str | None:
    """Give the same command once more beside the one that waits."""
    if len(stage.waiting()) != 1:
        return None
    stage.start()
    return "beside the first"


FAULTS: dict[str, Fault] = {
    "task killed (SIGKILL)": _signal_task(signal.SIGKILL),
    "task terminated (SIGTERM)": _signal_task(signal.SIGTERM),
    "task told of its limit (SIGUSR2)": _on_job("scancel", "--signal=USR2"),
    "task suspended, then resumed": suspend,
    "job preempted (SIGCONT, SIGTERM, requeue)": preempt,
    "job requeued (scontrol requeue)": _on_job("scontrol", "requeue"),
    "job cancelled (scancel)": _on_job("scancel"),
    "node's slurmd killed": kill_node,
    "slurmctld ended and restarted": restart_controller,
    "file system full": fill_disk,
    "waiting command killed": kill_command,
    "second command beside the first": second_command,
}
