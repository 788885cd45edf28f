"""A test for inner runs of pytest only: no run collects it unless it names this file."""

import time
from pathlib import Path

from tests.session.inner import LIMIT, ready
from tools.slurm import Cluster
from tools.slurm.processes import wait_for


def test_holds_a_cluster(slurm: Cluster, tmp_path: Path) -> None:
    """Bring up the cluster with a job over both nodes, deaf and with children in sessions of their own."""
    step = tmp_path / "step"
    step.write_text(f"trap '' TERM; setsid sleep 3600 & touch {tmp_path}/$SLURMD_NODENAME; sleep 3600")
    submitted = slurm.run("sbatch", "--nodes=2", "--output=/dev/null", f"--wrap=srun sh {step}")
    assert submitted.returncode == 0, submitted.stderr
    assert wait_for(lambda: len(list(tmp_path.glob("node*"))) == 2, LIMIT)
    daemons = {name: process.pid for name, process in slurm.daemons().items() if process}
    ready({"daemons": daemons, "directory": str(slurm.directory)})
    time.sleep(3600)
