"""A real Slurm on one machine, for tests: ``python -m tools.slurm up|down|status``."""

from tools.slurm.cluster import Cluster, ClusterError
from tools.slurm.programs import INSTALL, missing_programs

__all__ = ["INSTALL", "Cluster", "ClusterError", "missing_programs"]
