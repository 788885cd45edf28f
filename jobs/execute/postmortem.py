"""What became of tasks that ended before their shards were done, as Slurm and their logs tell it."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs.execute import queue
from jobs.execute.excerpt import last_words
from jobs.execute.launches import Queued

_STILL = ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING", "REQUEUED", "STOPPED")


@dataclass(frozen=True)
class End:
    """How a job ended.

    Attributes:
        state: Slurm's word, such as FAILED; "" where Slurm does not know the job any more.
        code: Slurm's exit code and signal, such as 1:0.
        node: where it ran; the first of several.
        reason: Slurm's further word, such as JobLaunchFailure; "" for none.
    """

    state: str = ""
    code: str = ""
    node: str = ""
    reason: str = ""

    def __str__(self) -> str:
        if not self.state:
            return "ended, and Slurm does not know how"
        where = f" on {self.node}" if self.node else ""
        return " ".join(filter(None, (self.state, self.code, self.reason))) + where


def ends_of(jobs: Iterable[str]) -> dict[str, End]:
    """Return how jobs ended, by one question or two whatever their number; jobs that have not are left out.

    Args:
        jobs: ids, such as 12_3.
    """
    wanted = set(jobs)
    arrays = sorted({job.partition("_")[0] for job in wanted})
    found: dict[str, End] = {}
    # The controller knows best of what ended just now, the accounting of what it has forgotten; either may be missing.
    # The controller tells of one array or of everybody's jobs, which is much to ask while the accounting may tell.
    if len(arrays) == 1:
        found = _of_controller(*arrays)
    if wanted - found.keys():
        which = ("-j", ",".join(arrays), "--format=jobid,state,exitcode,nodelist,reason")
        found = read_sacct(queue.ask("sacct", "-XnP", *which) or "") | found
    if len(arrays) > 1 and wanted - found.keys():
        found = _of_controller() | found
    return {job: found.get(job, End()) for job in wanted if found.get(job, End()).state not in _STILL}


def _of_controller(*array: str) -> dict[str, End]:
    return read_scontrol(queue.ask("scontrol", "--oneliner", "show", "job", *array) or "")


def read_scontrol(text: str) -> dict[str, End]:
    """Read ``scontrol --oneliner show job``."""
    found = {}
    for line in text.splitlines():
        value = dict(re.findall(r"(\w+)=(\S*)", line))
        if "JobState" not in value:
            continue
        node = first_node(value.get("NodeList", ""))
        end = End(value["JobState"], value.get("ExitCode", ""), node, _reason(value.get("Reason", "")))
        if "ArrayJobId" not in value:
            found[value["JobId"]] = end
            continue
        tasks = value.get("ArrayTaskId", "").partition("%")[0]
        for task in queue.expand(tasks) if re.fullmatch(r"[\d,:-]+", tasks) else []:
            found[f"{value['ArrayJobId']}_{task}"] = end
    return found


def read_sacct(text: str) -> dict[str, End]:
    """Read ``sacct -P`` lines of id, state, exit code, nodes and reason."""
    found = {}
    for line in text.splitlines():
        job, state, code, nodes, reason = line.split("|")
        found[job] = End(state.partition(" ")[0], code, first_node(nodes), _reason(reason))
    return found


def _reason(word: str) -> str:
    # The last reason for pending stands there also after the end.
    return (
        word if word in ("JobLaunchFailure", "NodeFail", "TimeLimit", "OutOfMemory", "RaisedSignal", "Prolog") else ""
    )


def first_node(nodes: str) -> str:
    """``gpu[07-09,12]`` -> ``gpu07``; "" where there is none."""
    if nodes.startswith(("(null)", "None")):
        return ""
    found = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\])?", nodes)
    return "".join(filter(None, found.groups())) if found else ""


def error_file(task: Queued) -> Path:
    """Return the log of a task's first rank."""
    return task.launch.folder / f"{task.job.id}_0_log.err"


def told(ended: dict[Queued, End], most: int = 5) -> list[str]:
    """Return a sentence for each way in which tasks ended: how many, which, where, and their last words."""
    alike: dict[tuple[str, str], list[Queued]] = defaultdict(list)
    words_of = {task: last_words(error_file(task)) for task in ended}
    for task, end in ended.items():
        alike[str(end), _general(words_of[task])].append(task)
    sentences = []
    for (how, _), tasks in alike.items():
        ids = [task.job.id for task in tasks]
        named = ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")
        log = error_file(tasks[0])
        words = words_of[tasks[0]]
        said = f"{words} [{log}]" if words else f"its log is empty or missing [{log}]"
        sentences.append(f"task{'s' if len(ids) > 1 else ''} {named}: {how}: {said}")
    return sentences


def _general(words: str) -> str:
    """Leave out what differs from task to task in the same words: numbers, and names with numbers."""
    return re.sub(r"\S*\d\S*", "#", words)
