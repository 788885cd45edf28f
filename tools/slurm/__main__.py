"""Command line: ``python -m tools.slurm up|down|status [--dir DIR]``."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tools.slurm.cluster import Cluster, ClusterError


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.slurm", description="A one-machine Slurm.")
    parser.add_argument("command", choices=("up", "down", "status"))
    mine = Path(tempfile.gettempdir()) / f"jobs-slurm-{os.getuid()}"
    parser.add_argument("--dir", type=Path, default=mine, help="default: %(default)s")
    options = parser.parse_args(arguments)
    cluster = Cluster(options.dir)
    try:
        return {"up": _up, "down": _down, "status": _status}[options.command](cluster)
    except (ClusterError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _up(cluster: Cluster) -> int:
    cluster.up()
    variables = " ".join(f"{name}={value}" for name, value in cluster.env().items())
    print(f"Up: {', '.join(f'{node} {state}' for node, state in cluster.nodes().items())}")
    print(f"export {variables}")
    print("With that line sbatch, squeue, sacct and this project's launcher speak to this cluster.")
    return 0


def _down(cluster: Cluster) -> int:
    cluster.down()
    print(f"Down. Logs and job history stay in {cluster.directory}.")
    return 0


def _status(cluster: Cluster) -> int:
    daemons = cluster.daemons()
    for name, process in daemons.items():
        print(f"{name:10} {f'up, pid {process.pid}' if process else 'down'}")
    nodes = cluster.nodes() if daemons["slurmctld"] else {}
    for node, state in nodes.items():
        print(f"{node:10} {state}")
    usable = bool(nodes) and not any(state.startswith(("down", "drain", "unk")) for state in nodes.values())
    return 0 if usable and all(daemons.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
