"""What has to be installed, and the environment in which it runs."""

import os
import shutil

PACKAGES = "slurmctld slurmd slurm-client slurmdbd munge mariadb-server"
INSTALL = f"apt-get install --no-install-recommends {PACKAGES}"
PROGRAMS = (
    *("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd"),
    *("sacctmgr", "sacct", "scontrol", "sinfo", "squeue", "scancel", "sbatch", "srun"),
)
# Debian's daemons lie in directories that an ordinary user's PATH leaves out.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def missing_programs() -> list[str]:
    """Return the programs that a cluster needs and this machine lacks."""
    return [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what would steer Slurm's programs elsewhere.

    Inside an allocation of another Slurm its SLURM_* variables reach every program that is started.
    """
    slurm = ("SLURM", "SBATCH", "SRUN", "SALLOC", "SQUEUE", "SACCT", "SINFO", "SCANCEL", "SCONTROL", "SSTAT", "SPRIO")
    prefixes = (*slurm, "PMI_", "PMIX_", "MYSQL_", "MARIADB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | {"PATH": PATH}
