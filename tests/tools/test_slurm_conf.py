"""The rendered configuration, word for word: a change of it must be meant."""

from pathlib import Path

from tools.slurm.conf import DAEMONS, Layout, commands, render

LAYOUT = Layout(Path("/c"), "ann", "lab", ctld_port=7001, dbd_port=7002, node_ports=(7003, 7004))

SLURM = """\
ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=7001
SlurmUser=ann
SlurmdUser=ann
AuthType=auth/munge
AuthInfo=socket=/c/run/munge
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny

# Files: nothing outside the cluster's own directory.
StateSaveLocation=/c/state/slurmctld
SlurmdSpoolDir=/c/state/slurmd-%n
SlurmctldPidFile=/c/run/slurmctld.pid
SlurmdPidFile=/c/run/slurmd-%n.pid
SlurmctldLogFile=/c/logs/slurmctld.log
SlurmdLogFile=/c/logs/slurmd-%n.log

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
AccountingStoragePort=7002
# Here this names the munge socket once more: AuthInfo does not hold for slurmdbd's connections.
AccountingStoragePass=/c/run/munge
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none

NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=7003 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=7004 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=dev Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""

SLURMDBD = """\
DbdHost=localhost
DbdPort=7002
SlurmUser=ann
AuthType=auth/munge
AuthInfo=socket=/c/run/munge
PidFile=/c/run/slurmdbd.pid
LogFile=/c/logs/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""

GRES = """\
NodeName=node1 Name=gpu File=/c/gpus/node1/gpu[0-1]
NodeName=node2 Name=gpu File=/c/gpus/node2/gpu[0-1]
"""

COMMANDS = """\
munged
    --foreground
    --force
    --key-file=/c/etc/munge.key
    --socket=/c/run/munge
    --pid-file=/c/run/munged.pid
    --log-file=/c/logs/munged.log
    --seed-file=/c/state/munge.seed
mariadbd
    --no-defaults
    --datadir=/c/state/mariadb
    --user=ann
    --innodb-log-file-size=8M
    --innodb-buffer-pool-size=32M
    --innodb-flush-log-at-trx-commit=0
    --skip-networking
    --pid-file=/c/run/mariadbd.pid
    --socket=/c/run/mariadb
    --innodb-lock-wait-timeout=900
slurmdbd
    -D
slurmctld
    -D
slurmd
    -D
    -N
    node1
slurmd
    -D
    -N
    node2
"""


def test_configuration_files() -> None:
    assert render(LAYOUT) == {"slurm.conf": SLURM, "slurmdbd.conf": SLURMDBD, "gres.conf": GRES}


def test_command_lines() -> None:
    assert "".join("\n    ".join(command) + "\n" for command in commands(LAYOUT).values()) == COMMANDS


def test_daemons_start_in_the_order_of_their_needs() -> None:
    assert tuple(commands(LAYOUT)) == DAEMONS


def test_nothing_points_outside_the_directory() -> None:
    words = " ".join([*render(LAYOUT).values(), COMMANDS]).replace("=", " ").split()
    paths = [word for word in words if word.startswith("/")]
    assert len(paths) > 20
    assert all(path.startswith("/c/") for path in paths)
