"""Which tasks of runs are in Slurm's queue, also those that sbatch did not answer for."""

from collections.abc import Callable, Iterable
from pathlib import Path

from jobs.base.errors import BadInput
from jobs.base.times import ANSWER
from jobs.execute import queue
from jobs.execute.doubt import was_taken
from jobs.execute.launches import InQueue, Launch, launches_of, queued_arrays, queued_tasks

NOBODY_KNOWS = f"{queue.NO_ANSWER}, so that nobody knows which tasks are in it: nothing was done; try again later"


def ask(
    runs: Iterable[Path], launches: dict[str, Launch], within: float = ANSWER
) -> tuple[list[queue.Job], InQueue] | None:
    """Look at the queue once.

    Args:
        runs: directories.
        launches: those that may have tasks of the runs.
        within: seconds that Slurm may take.

    Returns:
        All jobs of the launches' owners, and which of them are tasks of the runs; None where Slurm does not answer.
    """
    jobs = queue.look({owner for launch in launches.values() for owner in launch.owners}, within)
    if jobs is None:
        return None
    return jobs, InQueue(list(queued_tasks(runs, launches, jobs)), {job.id for job in jobs})


def find_out(runs: list[Path], say: Callable[[str], None]) -> tuple[list[queue.Job], InQueue]:
    """As ``ask``, and make sure of arrays of which nobody knows whether Slurm took them; under the runs' locks.

    Raises:
        BadInput: Slurm does not answer.
    """
    launches = launches_of(runs)
    answer = ask(runs, launches)
    if answer:
        arrays = queued_arrays(answer[0])
        for launch in launches.values():
            for serial in launch.unanswered():
                if (launch.folder.name, serial) not in arrays and was_taken(launch, serial, say):
                    answer = ask(runs, launches)
    if answer is None:
        raise BadInput(NOBODY_KNOWS)
    return answer
