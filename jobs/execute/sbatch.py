"""Hands a script to sbatch, and tells what came of it: taken, no place now, refused, or nobody knows."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.base.times import ANSWER, SLOW
from jobs.execute.steering import to_submit

# Slurm's words for places that come free again. The general "Job violates accounting/QOS policy" is none of them: it
# follows every refusal of the kind, also one that holds for ever.
_FULL = (
    *("MaxSubmitJob", "GrpSubmitJob", "temporarily unable to accept", "Resource temporarily unavailable"),
    *("Slurm job queue full", "Unable to create job record", "Job creation temporarily disabled"),
)
# After these it would try again by itself, for two minutes.
_RETRIES = ("sleeping and retrying", "temporarily disabled, retrying")
# After these Slurm may have taken the array all the same.
_UNHEARD = (
    *("Unable to contact", "timed out", "Zero Bytes", "onnection refused", "onnection reset", "connection failure"),
    *("Transport endpoint", "in standby", "backup mode", "Unexpected message"),
)
# What a dry run refuses although sbatch may take it: it counts only nodes that are up now.
_PASSING = ("Requested node configuration is not available",)

# A part of what sbatch says -> the settings that may have made it say so.
_SENT_BY = {
    "partition": ("partition", "account"),
    "account": ("account", "partition"),
    "qos": ("qos", "account"),
    "generic resource": ("gres", "gpus_per_node"),
    "GRES": ("gres", "gpus_per_node"),
    "Cpu": ("cpus_per_task", "qos"),
    "Mem": ("mem_gb", "mem_per_cpu", "mem_per_gpu"),
    "Wall": ("timeout_min", "qos"),
    "time": ("timeout_min", "partition"),
    "feature": ("constraint",),
    "node name": ("exclude", "additional_parameters"),
    "Node": ("nodes", "qos"),
    "node configuration": (
        *("gpus_per_node", "cpus_per_task", "mem_gb", "nodes", "tasks_per_node", "constraint", "exclude", "gres"),
        "partition",
    ),
    "signal": ("signal_delay_s",),
    "wckey": ("additional_parameters",),
    "dependency": ("additional_parameters",),
    "license": ("additional_parameters",),
    "accounting/QOS policy": ("qos", "account", "partition"),
}


@dataclass(frozen=True)
class Taken:
    """Slurm has the array, under this id."""

    array: str


@dataclass(frozen=True)
class Full:
    """There is no place for it now."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """It never will be taken as it is."""

    reason: str


@dataclass(frozen=True)
class Unheard:
    """Slurm did not answer: it may have taken the array or not."""

    reason: str


Outcome = Taken | Full | Refused | Unheard


def submit(script: str, say: Callable[[str], None]) -> Outcome:
    """Submit a script.

    Args:
        script: the text.
        say: called with a sentence where sbatch keeps waiting.
    """
    code, output, errors = _run(["sbatch", "--parsable"], script, say)
    if code == 0 and (array := output.strip().partition(";")[0]).isdecimal():
        return Taken(array)
    return read_refusal(code, errors or output)


def rehearse(script: str, say: Callable[[str], None]) -> Refused | Unheard | None:
    """Return what of a script sbatch refuses for good; None where it has nothing against it that holds for ever.

    Args:
        script: the text.
        say: called with a sentence where sbatch keeps waiting.
    """
    code, output, errors = _run(["sbatch", "--test-only"], script, say)
    outcome = None if code == 0 else read_refusal(code, errors or output)
    if isinstance(outcome, Refused | Unheard) and not any(words in outcome.reason for words in _PASSING):
        return outcome
    return None


def read_refusal(code: int | None, said: str) -> Outcome:
    """Tell one kind of failure from another by what sbatch said; a code of None is no end within the time."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ").strip() for line in said.splitlines()]
    lines = [line.removeprefix("Batch job submission failed: ").removeprefix("allocation failure: ") for line in lines]
    reason = ": ".join(dict.fromkeys(filter(None, lines)))
    if any(words in reason for words in _FULL):
        return Full(reason)
    if code is None or any(words in reason for words in _UNHEARD):
        return Unheard(reason or "no answer")
    return Refused(reason or f"sbatch ended with code {code} and no word")


def sent_by(reason: str, settings: dict[str, Any]) -> str:
    """Return the settings that a refusal is about, as one writes them; "" where none is set or it is not known."""
    known = [names for words, names in _SENT_BY.items() if words in reason]
    named = dict.fromkeys(name for names in known for name in names if settings.get(name) not in (None, "", {}))
    return ", ".join(f"hydra.launcher.{name}={settings[name]}" for name in named)


def _run(command: list[str], script: str, say: Callable[[str], None]) -> tuple[int | None, str, str]:
    """Run sbatch; the code is None where it was ended because it would not come to an answer."""
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        given.write(script)
        given.seek(0)
        start, slow, code = time.monotonic(), False, None
        environment = to_submit(os.environ, script)
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err, env=environment)
        try:
            while code is None and time.monotonic() - start < ANSWER:
                try:
                    code = process.wait(0.5 if slow or time.monotonic() - start > 1 else 0.05)
                except subprocess.TimeoutExpired:
                    if any(words in _text(err) for words in _RETRIES):
                        break
                    if not slow and time.monotonic() - start > SLOW:
                        slow = True
                        say("Slurm's controller has not answered sbatch yet: waiting for it")
        finally:
            process.kill()
            process.wait()
        return code, _text(out), _text(err)


def _text(file: Any) -> str:
    file.seek(0)
    text: str = file.read()
    return text
