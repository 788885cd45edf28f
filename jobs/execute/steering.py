"""The user's environment, without what would have Slurm's programs do something else than they are asked to. Pure.

``SQUEUE_STATES=R`` hides pending jobs, ``SBATCH_JOB_NAME`` wins over the name in a script, ``SBATCH_WAIT`` waits for
the end of the array. Defaults for what we do not ask for (``SBATCH_ACCOUNT``) stay.
"""

import re
from collections.abc import Mapping

_OF_QUESTIONS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SCONTROL_")
# What sbatch prints, and when it returns, is part of the question.
_ALWAYS = {"SBATCH_WAIT", "SBATCH_DEBUG", "SBATCH_IMMEDIATE"}
# An option of sbatch -> the variables that win over it, or do not go with it, where they are named otherwise.
_MEMORY = ("MEM_PER_NODE", "MEM_PER_CPU", "MEM_PER_GPU")
_GPUS = ("GPUS", "GPUS_PER_NODE", "GPUS_PER_TASK", "GRES")
_VARIABLES = {
    "array": ("ARRAY_INX",),
    "time": ("TIMELIMIT",),
    "requeue": ("REQUEUE", "NO_REQUEUE"),
    "no-requeue": ("REQUEUE", "NO_REQUEUE"),
    "mem": _MEMORY,
    "mem-per-cpu": _MEMORY,
    "mem-per-gpu": _MEMORY,
    "gpus-per-node": _GPUS,
    "gpus-per-task": _GPUS,
    "gpus": _GPUS,
    "gres": _GPUS,
    "switches": ("REQ_SWITCH", "WAIT4SWITCH"),
}
# As additional_parameters may have them.
_LETTERS = {
    **{"A": "account", "a": "array", "C": "constraint", "c": "cpus-per-task", "e": "error", "J": "job-name"},
    **{"m": "distribution", "o": "output", "p": "partition", "q": "qos", "t": "time", "x": "exclude"},
}


def to_ask(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which Slurm is asked and told, other than by sbatch."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_OF_QUESTIONS)}
    return {**kept, "SLURM_BITSTR_LEN": "0"}  # else squeue cuts the list of an array's tasks short


def to_submit(environment: Mapping[str, str], script: str) -> dict[str, str]:
    """Return the environment in which sbatch gets a script: without variables for options that the script has."""
    ruled = {f"SBATCH_{variable}" for option in _options(script) for variable in _variables(option)} | _ALWAYS
    return {name: value for name, value in environment.items() if name not in ruled}


def _options(script: str) -> set[str]:
    found = re.findall(r"^#SBATCH\s+(?:--([\w-]+)|-(\w))", script, re.MULTILINE)
    return {name or _LETTERS.get(letter, "") for name, letter in found} - {""}


def _variables(option: str) -> tuple[str, ...]:
    return _VARIABLES.get(option, (option.upper().replace("-", "_"),))
