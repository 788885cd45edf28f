"""The test cluster itself: does it behave like a Slurm, and does it keep to itself?"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import submitit

from tests.isolation import Session
from tools.slurm import Cluster, ClusterError
from tools.slurm.__main__ import main
from tools.slurm.conf import DAEMONS
from tools.slurm.ports import listens
from tools.slurm.processes import Process, Seen, end, matching, wait_for


def sbatch(cluster: Cluster, *arguments: str) -> str:
    """Submit a job and return its id."""
    result = cluster.run("sbatch", "--parsable", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def accounting(cluster: Cluster, job: str, *, ended: int) -> dict[str, tuple[str, str]]:
    """Return state and exit code by job id, as soon as ``ended`` tasks of the job have them."""
    found: dict[str, tuple[str, str]] = {}

    def all_ended() -> bool:
        lines = cluster.run("sacct", "-XnP", "-j", job, "-o", "jobid,state,exitcode").stdout.splitlines()
        rows = [line.split("|") for line in lines]
        found.clear()  # an array's record changes its id while the array is being split
        found.update({row[0]: (row[1], row[2]) for row in rows if row[1] not in ("PENDING", "RUNNING")})
        return len(found) == ended

    assert wait_for(all_ended, 20, interval=0.2), found
    return found


def belongings(directory: Path) -> list[Process]:
    """Find live processes that mention a directory as theirs."""

    def mentions(seen: Seen) -> bool:
        return any(str(directory) in text for text in (seen.directory, *seen.environment.values()))

    return [process for process in matching(mentions) if process.alive()]


def test_array_spreads_over_nodes_and_gpus(slurm: Cluster, tmp_path: Path) -> None:
    # Asleep until all four have begun, so that none gets the GPU of one that has ended.
    wait = f"while [ $(ls {tmp_path} | wc -l) -lt 4 ]; do sleep 0.1; done"
    script = f"echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES; {wait}"
    job = sbatch(slurm, "--array=0-3", "--gres=gpu:1", f"--output={tmp_path}/%a", f"--wrap={script}")
    expected = {f"{job}_{index}": ("COMPLETED", "0:0") for index in range(4)}
    assert accounting(slurm, job, ended=4) == expected
    seen = {path.read_text().strip() for path in tmp_path.iterdir()}
    assert seen == {"node1 0", "node1 1", "node2 0", "node2 1"}


@pytest.mark.parametrize(
    ("script", "state", "code"),
    [("exit 0", "COMPLETED", "0:0"), ("exit 3", "FAILED", "3:0"), ("kill -9 $$", "FAILED", "0:9")],
)
def test_accounting_tells_the_truth(slurm: Cluster, script: str, state: str, code: str) -> None:
    job = sbatch(slurm, "--output=/dev/null", f"--wrap={script}")
    assert accounting(slurm, job, ended=1) == {job: (state, code)}


def test_submitit_returns_a_result(slurm_env: Cluster, tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(folder=tmp_path)
    executor.update_parameters(timeout_min=2, gpus_per_node=1, slurm_array_parallelism=2)
    assert executor.cluster == "slurm"
    jobs = executor.map_array(lambda x: (x * x, os.environ["CUDA_VISIBLE_DEVICES"]), [3, 4])
    assert [job.result() for job in jobs] == [(9, "0"), (16, "1")]


def test_up_twice_starts_nothing_new(slurm: Cluster) -> None:
    before = slurm.daemons()
    slurm.up()
    assert slurm.daemons() == before
    assert None not in before.values()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("node2", signal.SIGKILL),
        ("munged", signal.SIGKILL),
        ("slurmdbd", signal.SIGKILL),
        ("slurmctld", signal.SIGTERM),  # SIGKILL would lose the last job ids, which are then given again
    ],
)
def test_up_repairs_a_dead_daemon(slurm: Cluster, name: str, number: signal.Signals) -> None:
    before = slurm.daemons()
    killed = before[name]
    assert killed
    killed.signal(number)
    assert wait_for(lambda: not killed.alive(), 10)
    assert not slurm.running()
    slurm.up()
    after = slurm.daemons()
    assert {daemon for daemon in DAEMONS if after[daemon] != before[daemon]} == {name}
    job = sbatch(slurm, "--nodes=2", "--output=/dev/null", "--wrap=srun true")
    assert accounting(slurm, job, ended=1) == {job: ("COMPLETED", "0:0")}


def test_down_leaves_nothing_and_no_other_is_touched(slurm: Cluster, tmp_path: Path) -> None:
    memory = slurm.directory.parent
    with tempfile.TemporaryDirectory(prefix="slurm-", dir=memory) as other, tempfile.TemporaryDirectory() as foreign:
        files = {name: f"{foreign}/{name}" for name in ("socket", "key-file", "pid-file", "seed-file")}
        Path(files["key-file"]).write_bytes(os.urandom(64))
        Path(files["key-file"]).chmod(0o600)
        options = [f"--{name}={path}" for name, path in files.items()]
        munged = subprocess.Popen(["munged", "-F", "-f", *options], stderr=subprocess.DEVNULL)
        cluster = Cluster(other)
        try:
            cluster.up()
            # Deaf to SIGTERM, with a child that has left its session.
            stubborn = f"trap '' TERM; setsid sleep 600 & touch {tmp_path}/$SLURM_ARRAY_TASK_ID; sleep 600"
            arguments = ("--array=0-9", "--output=/dev/null", f"--wrap={stubborn}")
            sbatch(cluster, *arguments)
            assert wait_for(lambda: len(list(tmp_path.iterdir())) == 8, 15)  # the nodes' CPUs
            assert belongings(Path(other))
            cluster.down()
            assert belongings(Path(other)) == []
            assert not cluster.running()
            assert munged.poll() is None
            assert listens(Path(files["socket"]))
            assert slurm.running()
        finally:
            cluster.down()
            end([Process.of(munged.pid)])
            munged.wait()


def test_down_ends_job_steps_of_a_dead_controller(test_session: Session, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="slurm-", dir=test_session.memory) as directory:
        cluster = Cluster(directory)
        try:
            cluster.up()
            sbatch(cluster, "--output=/dev/null", f"--wrap=touch {tmp_path}/on; sleep 600")
            assert wait_for((tmp_path / "on").exists, 15)
            for process in cluster.daemons().values():
                assert process
                process.signal(signal.SIGKILL)
            assert wait_for(lambda: not any(cluster.daemons().values()), 5)
            assert belongings(Path(directory))
        finally:
            cluster.down()
        assert belongings(Path(directory)) == []


def test_command_line(slurm: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    directory = str(slurm.directory)
    assert main(["up", "--dir", directory]) == 0
    assert f"export SLURM_CONF={directory}/etc/slurm.conf" in capsys.readouterr().out
    assert main(["status", "--dir", directory]) == 0
    assert capsys.readouterr().out.count("up, pid") == len(DAEMONS)


def test_a_cluster_outlives_the_command_that_brought_it_up(test_session: Session) -> None:
    with tempfile.TemporaryDirectory(prefix="slurm-", dir=test_session.memory) as directory:
        command = [sys.executable, "-m", "tools.slurm", "--dir", directory]
        try:
            subprocess.run([*command, "up"], check=True, stdout=subprocess.DEVNULL)
            assert Cluster(directory).running()
            assert subprocess.run([*command, "status"], stdout=subprocess.DEVNULL).returncode == 0
            subprocess.run([*command, "down"], check=True, stdout=subprocess.DEVNULL)
            assert belongings(Path(directory)) == []
        finally:
            Cluster(directory).down()


def test_status_of_nothing_is_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--dir", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().out.count("down") == len(DAEMONS)
    assert main(["down", "--dir", str(tmp_path / "none")]) == 0


def test_a_directory_of_other_things_is_refused() -> None:
    with tempfile.TemporaryDirectory() as directory:  # tmp_path may be too long to be looked at
        Path(directory, "thesis.txt").touch()
        with pytest.raises(ClusterError, match="holds other files"):
            Cluster(directory).up()
        assert [path.name for path in Path(directory).iterdir()] == ["thesis.txt"]
