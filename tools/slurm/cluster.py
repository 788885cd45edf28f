"""Brings a one-machine Slurm up and down: munge, MariaDB, slurmdbd, slurmctld and two slurmd.

Everything runs as the current user, lives in one directory that only this user can enter, and
listens on sockets in it or on ports found free. No other Slurm on the machine is touched.
"""

import contextlib
import fcntl
import getpass
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.slurm.conf import DAEMONS, GPUS_PER_NODE, NODES, Layout, commands, database_options, render
from tools.slurm.ports import free_ports, listens
from tools.slurm.processes import Process, Seen, end, matching, wait_for
from tools.slurm.programs import INSTALL, clean_environment, missing_programs

MARK = "JOBS_SLURM_DIRECTORY"  # in the environment of every daemon: whose it is
MAX_DIRECTORY = 70  # a Unix socket's path holds 107 bytes, and ours are below this directory


class ClusterError(RuntimeError):
    """The cluster cannot be brought up; the message says what to change."""


class Cluster:
    """A Slurm of two nodes with two pretended GPUs each.

    Args:
        directory: Holds all of its files; made when missing, kept by ``down`` (logs, job history).
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory).resolve()

    def env(self) -> dict[str, str]:
        """Return the variables that make Slurm's commands speak to this cluster."""
        return {"SLURM_CONF": str(self.directory / "etc" / "slurm.conf")}

    def run(self, *command: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands against this cluster, with its output captured.

        Returns:
            What it answered; the exit code is 124 where it took longer than ``timeout`` seconds.
        """
        try:
            return subprocess.run(
                command, env=self._environment(), capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no answer in {timeout:g} s")

    def daemons(self) -> dict[str, Process | None]:
        """Return each daemon's process, None where it does not run."""
        known = {name: Process(**found) for name, found in self._state().get("daemons", {}).items()}
        return {name: known[name] if name in known and known[name].alive() else None for name in DAEMONS}

    def running(self) -> bool:
        """Tell whether every daemon runs."""
        return all(self.daemons().values())

    def nodes(self) -> dict[str, str]:
        """Return each node's state in Slurm's words; empty when slurmctld does not answer."""
        lines = self.run("sinfo", "-hN", "-o", "%N %T", timeout=15).stdout.splitlines()
        return {node: state for node, state in (line.split(maxsplit=1) for line in lines)}

    def up(self) -> None:
        """Start what does not run, and return when both nodes take jobs.

        Raises:
            ClusterError: A program is missing, the directory is unfit or a daemon does not start.
        """
        if missing := missing_programs():
            raise ClusterError(f"Slurm's programs are missing ({', '.join(missing)}): run `{INSTALL}`.")
        self._claim_directory()
        with self._lock():
            layout = self._prepare()
            ready: dict[str, Callable[[], bool]] = {
                "munged": lambda: listens(layout.munge_socket),
                "mariadbd": lambda: listens(layout.database_socket),
                "slurmdbd": lambda: self._cluster_known(layout),
                "slurmctld": lambda: self._answers("scontrol", "ping"),
            }
            running = self.daemons()
            for name, command in commands(layout).items():
                if running[name] is None:
                    self._start(name, command, ready.get(name, lambda: True))
            if not wait_for(self._nodes_ready, 30):
                logs = self.directory / "logs"
                raise ClusterError(f"The nodes did not become ready ({self.nodes()}): see {logs}.")

    def down(self) -> None:
        """Cancel all jobs and end every process that this cluster started, and no other."""
        if not self._state_file.exists():
            return
        with self._lock():
            if self.daemons()["slurmctld"] and any(self.daemons()[node] for node in NODES):
                self._cancel_jobs()
            processes = self.daemons()
            for group in (NODES, ("slurmctld",), ("slurmdbd",), ("mariadbd",), ("munged",)):
                end(process for name in group if (process := processes[name]))
            # slurmd leaves its job steps alive, so that it can be restarted under them.
            end(matching(self._is_ours), grace=1.0)

    def _start(self, name: str, command: list[str], ready: Callable[[], bool]) -> None:
        log = self.directory / "logs" / f"{name}.out"
        with log.open("ab") as out:
            started = subprocess.Popen(
                command,
                env=self._environment(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = Process.of(started.pid)
        started.returncode = 0  # it outlives this object; Process watches it from here on
        state = self._state()
        state["daemons"][name] = vars(process)
        self._write_state(state)
        if not wait_for(lambda: not process.alive() or ready(), 60) or not process.alive():
            last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise ClusterError(f"{name} did not start ({last}): see {log.parent}.")

    # What has to be true before, between and after.

    def _claim_directory(self) -> None:
        if len(os.fsencode(self.directory)) > MAX_DIRECTORY:
            raise ClusterError(f"{self.directory} is too long for a socket's path: give a shorter --dir.")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.directory.stat().st_uid != os.getuid():
            raise ClusterError(f"{self.directory} belongs to another user: give another --dir.")
        if not self._state_file.exists():
            if any(entry.name != "lock" for entry in self.directory.iterdir()):
                raise ClusterError(f"{self.directory} holds other files: give an empty or a new --dir.")
            self.directory.chmod(0o700)

    def _prepare(self) -> Layout:
        """Write every file the daemons need; ports change only while nothing runs."""
        state = self._state()
        if "ports" not in state or not any(self.daemons().values()):
            state = {"ports": free_ports(2 + len(NODES)), "daemons": {}}
            self._write_state(state)
        ctld_port, dbd_port, *node_ports = state["ports"]
        layout = Layout(self.directory, getpass.getuser(), "jobs_test", ctld_port, dbd_port, tuple(node_ports))
        for name in ("etc", "run", "logs", "state/slurmctld", *(f"state/slurmd-{node}" for node in NODES)):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for node in NODES:
            for index in range(GPUS_PER_NODE):
                layout.gpus(node).mkdir(parents=True, exist_ok=True)
                device = layout.gpus(node) / f"gpu{index}"
                if not device.is_symlink():
                    device.symlink_to(os.devnull)  # a plain file would leave CUDA_VISIBLE_DEVICES unset
        for name, text in render(layout).items():
            _write(self.directory / "etc" / name, text.encode())
        if not layout.munge_key.exists():
            _write(layout.munge_key, os.urandom(1024))
        self._create_database(layout)
        return layout

    def _create_database(self, layout: Layout) -> None:
        made = self.directory / "state" / "mariadb.made"
        if made.exists():
            return
        shutil.rmtree(self.directory / "state" / "mariadb", ignore_errors=True)
        # Root without a password: only this user reaches the socket.
        root = "--auth-root-authentication-method=normal"
        command = ["mariadb-install-db", *database_options(layout), root, "--skip-test-db"]
        result = self.run(*command, timeout=120)
        if result.returncode:
            raise ClusterError(f"mariadb-install-db failed: {(result.stdout + result.stderr).strip()}")
        made.touch()

    def _cluster_known(self, layout: Layout) -> bool:
        if not listens(("127.0.0.1", layout.dbd_port)):
            return False
        known = self.run("sacctmgr", "-nP", "show", "cluster", "format=cluster")
        return known.returncode == 0 and (
            layout.cluster in known.stdout.split() or self._answers("sacctmgr", "-i", "add", "cluster", layout.cluster)
        )

    def _nodes_ready(self) -> bool:
        states = self.nodes()
        for node in NODES:
            if states.get(node, "").startswith("drain"):  # a task that could not be killed
                self.run("scontrol", "update", f"nodename={node}", "state=resume")
        return all(states.get(node) in ("idle", "mixed", "allocated", "completing") for node in NODES)

    def _answers(self, *command: str) -> bool:
        return self.run(*command).returncode == 0

    def _cancel_jobs(self) -> None:
        def jobs() -> list[str]:
            return sorted(set(self.run("squeue", "-h", "-o", "%A").stdout.split()))

        if found := jobs():
            # SIGKILL before the cancelling: what ignores SIGTERM would go on for KillWait seconds.
            self.run("scancel", "--quiet", "--state=PENDING", *found)
            self.run("scancel", "--quiet", "--full", "--signal=KILL", *found)
            self.run("scancel", "--quiet", *found)
            wait_for(lambda: not jobs(), 10, interval=0.2)

    def _is_ours(self, seen: Seen) -> bool:
        mine = seen.environment.get("SLURM_CONF") == self.env()["SLURM_CONF"]
        return (
            seen.environment.get(MARK) == str(self.directory)
            or (mine and {"SLURM_JOB_ID", "SLURMD_NODENAME"} <= seen.environment.keys())
            # slurmstepd overwrites its environment, but stays where slurmd was started.
            or (seen.name == "slurmstepd" and seen.directory == str(self.directory))
        )

    # The cluster's own small files.

    @property
    def _state_file(self) -> Path:
        return self.directory / "cluster.json"

    def _state(self) -> dict:
        try:
            return json.loads(self._state_file.read_text())
        except FileNotFoundError:
            return {}

    def _write_state(self, state: dict) -> None:
        beside = self._state_file.with_suffix(".new")
        _write(beside, json.dumps(state, indent=1).encode())
        beside.replace(self._state_file)

    def _environment(self) -> dict[str, str]:
        own = {MARK: str(self.directory), "MYSQL_UNIX_PORT": str(self.directory / "run" / "mariadb")}
        return clean_environment() | own | self.env()

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _write(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() == data:
        return  # a running Slurm's programs read these files at any time
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
