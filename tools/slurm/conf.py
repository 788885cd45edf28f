"""The test cluster's configuration texts and command lines, as pure functions of a layout."""

from dataclasses import dataclass
from pathlib import Path

NODES = ("node1", "node2")
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", *NODES)  # in the order of their start
GPUS_PER_NODE = 2
CPUS_PER_NODE = 4


@dataclass(frozen=True)
class Layout:
    """Where one cluster lives.

    Attributes:
        directory: Absolute path that holds all of the cluster's files.
        user: Name of the user that runs every daemon and may submit jobs.
        cluster: Name under which accounting knows the cluster.
        ctld_port: TCP port of slurmctld.
        dbd_port: TCP port of slurmdbd.
        node_ports: TCP port of each node's slurmd, in the order of ``NODES``.
    """

    directory: Path
    user: str
    cluster: str
    ctld_port: int
    dbd_port: int
    node_ports: tuple[int, ...]

    @property
    def slurm_conf(self) -> Path:
        """The file that ``SLURM_CONF`` names."""
        return self.directory / "etc" / "slurm.conf"

    @property
    def munge_key(self) -> Path:
        """This cluster's own secret: no other munged accepts its credentials."""
        return self.directory / "etc" / "munge.key"

    @property
    def munge_socket(self) -> Path:
        """Where this cluster's own munged listens."""
        return self.directory / "run" / "munge"

    @property
    def database_socket(self) -> Path:
        """Where this cluster's own MariaDB listens; it opens no TCP port."""
        return self.directory / "run" / "mariadb"

    def gpus(self, node: str) -> Path:
        """The directory of the links gpu0, gpu1 and so on that stand for a node's devices."""
        return self.directory / "gpus" / node


def render(layout: Layout) -> dict[str, str]:
    """Return the text of each configuration file by its name in ``etc/``."""
    return {
        "slurm.conf": _slurm_conf(layout),
        "slurmdbd.conf": _slurmdbd_conf(layout),
        "gres.conf": _gres_conf(layout),
    }


def commands(layout: Layout) -> dict[str, list[str]]:
    """Return each daemon's command line; all stay in the foreground, so that their pids are known."""
    run, logs, state = (layout.directory / name for name in ("run", "logs", "state"))
    # --force: munged wants its socket within everybody's reach; here only one user may use it.
    munged = ["munged", "--foreground", "--force", f"--key-file={layout.munge_key}"]
    munged += [f"--socket={layout.munge_socket}", f"--pid-file={run}/munged.pid"]
    munged += [f"--log-file={logs}/munged.log", f"--seed-file={state}/munge.seed"]
    mariadbd = ["mariadbd", *database_options(layout), "--skip-networking", f"--pid-file={run}/mariadbd.pid"]
    mariadbd += [f"--socket={layout.database_socket}", "--innodb-lock-wait-timeout=900"]
    slurmds = {node: ["slurmd", "-D", "-N", node] for node in NODES}
    slurm = {"slurmdbd": ["slurmdbd", "-D"], "slurmctld": ["slurmctld", "-D"], **slurmds}
    return {"munged": munged, "mariadbd": mariadbd, **slurm}


def database_options(layout: Layout) -> list[str]:
    """Return what MariaDB and the program that creates its tables must be told alike."""
    # Small and unsynced: the history of a test cluster may die with the machine.
    sizes = ["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M"]
    where = ["--no-defaults", f"--datadir={layout.directory}/state/mariadb", f"--user={layout.user}"]
    return [*where, *sizes, "--innodb-flush-log-at-trx-commit=0"]


def _slurm_conf(layout: Layout) -> str:
    run, logs, state = (layout.directory / name for name in ("run", "logs", "state"))
    nodes = "\n".join(
        f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port}"
        f" CPUs={CPUS_PER_NODE} RealMemory=64000 Gres=gpu:{GPUS_PER_NODE} State=UNKNOWN"
        for node, port in zip(NODES, layout.node_ports, strict=True)
    )
    return f"""\
ClusterName={layout.cluster}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={layout.ctld_port}
SlurmUser={layout.user}
SlurmdUser={layout.user}
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny

# Files: nothing outside the cluster's own directory.
StateSaveLocation={state}/slurmctld
SlurmdSpoolDir={state}/slurmd-%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd-%n.pid
SlurmctldLogFile={logs}/slurmctld.log
SlurmdLogFile={logs}/slurmd-%n.log

# No cgroups, no binding: two nodes share one machine that may have fewer CPUs than both claim.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
ReturnToService=2

# Short intervals, so that tests need not wait.
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=1
KillWait=5
SlurmdTimeout=20
InactiveLimit=0
MinJobAge=3600
MaxArraySize=1001

SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1000
GresTypes=gpu

AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={layout.dbd_port}
# Here this names the munge socket once more: AuthInfo does not hold for slurmdbd's connections.
AccountingStoragePass={layout.munge_socket}
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none

{nodes}
PartitionName=dev Nodes={",".join(NODES)} Default=YES MaxTime=INFINITE State=UP
"""


def _slurmdbd_conf(layout: Layout) -> str:
    # A StorageHost of "localhost" makes the client library use the socket named by MYSQL_UNIX_PORT.
    return f"""\
DbdHost=localhost
DbdPort={layout.dbd_port}
SlurmUser={layout.user}
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
PidFile={layout.directory}/run/slurmdbd.pid
LogFile={layout.directory}/logs/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""


def _gres_conf(layout: Layout) -> str:
    # Slurm numbers devices by the digits of their file names: both nodes have a GPU 0 and a GPU 1.
    devices = f"gpu[0-{GPUS_PER_NODE - 1}]"
    lines = [f"NodeName={node} Name=gpu File={layout.gpus(node) / devices}" for node in NODES]
    return "\n".join(lines) + "\n"
