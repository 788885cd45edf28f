"""``submitit_slurm``: arrays of tasks, submitted under a lock and waited for with one look at the queue at a time."""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NoReturn

from jobs.base.errors import BadInput
from jobs.execute import queue
from jobs.execute.array import Array, script
from jobs.execute.asks import shards_per_task
from jobs.execute.container import start_inside
from jobs.execute.inqueue import find_out
from jobs.execute.launch import Launcher
from jobs.execute.launches import InQueue, Launch, avoided_by, launches_of
from jobs.execute.limits import read_limits
from jobs.execute.lock import submitting
from jobs.execute.plan import Unmade
from jobs.execute.resources import check_nodes, submission
from jobs.execute.sbatch import Unheard, rehearse
from jobs.execute.shape import shape_of
from jobs.execute.submit import Submitter, refusal
from jobs.execute.task import Task
from jobs.execute.waiting import Wait
from jobs.execute.work import AnyWork
from jobs.report.live import Display


class Slurm(Launcher):
    """The launcher: ``alone``, then ``queued``, then ``start``, whose answer is called without the runs' locks."""

    on_this_machine = False

    def require(self) -> None:
        if "submitit_folder" in self.given:
            raise BadInput(
                "hydra.launcher.submitit_folder has no use here, where logs lie in the run's own: leave it out"
            )
        queue.require()
        queue.drop_allocation_variables()

    def check(self, runs: Sequence[AnyWork]) -> None:
        if (most := self.settings.get("array_parallelism") or 0) < 0:
            raise BadInput(f"hydra.launcher.array_parallelism={most} must be at least 1, or 0: as many as there are")
        if read_limits(self.settings).most == 0:
            raise BadInput(
                "your account or QOS may not submit any jobs (its limit is 0): "
                "choose another hydra.launcher.account, partition or qos"
            )
        asked = self._asked(runs)
        check_nodes(asked)
        try:
            text = script(asked, runs[0].directory.logs, "check", Array(0, (0,), 1))
        except ValueError as error:  # Submitit's first line has the names that it does not know
            names = re.findall(r"'(\w+)'", str(error).partition("\n")[0])
            more = f"'+hydra.launcher.additional_parameters={{{', '.join(f'{name}: ...' for name in names)}}}'"
            raise BadInput(
                f"hydra.launcher has no {' and no '.join(names)}: give sbatch what else it takes by {more}"
            ) from None
        answer = rehearse(text, _say)
        if isinstance(answer, Unheard):
            raise BadInput(f"Slurm's controller does not answer sbatch ({answer.reason}): try again when it is up")
        if answer:
            raise BadInput(refusal(answer, self.settings))

    def alone(self, runs: Sequence[AnyWork]) -> AbstractContextManager[None]:
        return submitting([run.directory.path for run in runs], _say)

    def queued(self, runs: Sequence[AnyWork]) -> InQueue:
        self._jobs, found = find_out([run.directory.path for run in runs], _say)
        self._tasks = found.tasks
        return found

    def workers(self, run: AnyWork) -> int:
        return shape_of(self.settings, self.given, run.options).workers

    def shards_per_task(self, run: AnyWork) -> int:
        return shards_per_task(run, shape_of(self.settings, self.given, run.options))

    def start(self, unmade: list[Unmade], tasks: list[Task], launch: Launch | None) -> Callable[[], list[str]]:
        submitter = self._submit([one.run for one in unmade], launch) if launch else None
        if unmade[0].run.options.wait:
            return Wait(unmade, submitter, Display()).until_done
        return partial(_leave, submitter, unmade)

    def _submit(self, runs: Sequence[AnyWork], launch: Launch) -> Submitter:
        label = self.settings["name"] if "name" in self.given else runs[0].directory.path.name
        avoid = self._avoided(runs)
        submitter = Submitter(
            launch,
            self._asked(runs),
            label=label,
            limits=read_limits(self.settings),
            there=len(self._jobs),
            avoid=avoid,
            say=_say,
        )
        try:
            submitter.fill(self._jobs, self._tasks)
        except KeyboardInterrupt:
            _say(
                "interrupted: tasks that Slurm has taken go on without this command; the same command waits for them "
                f"and submits the rest, python -m jobs.cancel {runs[0].directory.path} ends them"
            )
            sys.exit(130)
        except BadInput as error:
            if len(submitter.left) == len(launch.listing):
                raise
            submitter.refusal = str(error)  # of the rest: what Slurm has taken is waited for
        if submitter.refusal and len(submitter.left) == len(launch.listing):
            shutil.rmtree(launch.folder)
            raise BadInput(submitter.refusal)
        return submitter

    def _avoided(self, runs: Sequence[AnyWork]) -> list[str]:
        """Return the nodes on which tasks of earlier launches died, if there are others."""
        avoid = avoided_by(launch for _, launch in sorted(launches_of([run.directory.path for run in runs]).items()))
        if not avoid or queue.nodes(self.settings["partition"]) <= set(avoid):
            return []
        _say(f"no tasks go to {', '.join(avoid)}, where those before died at start-up; after a day they do again")
        return avoid

    def _asked(self, runs: Sequence[AnyWork]) -> dict[str, Any]:
        """Return what is asked of Slurm, alike for all tasks."""
        settings = submission(start_inside(self.settings, runs), self.given, runs, "")
        return {name: value for name, value in settings.items() if name not in ("name", "max_num_timeout")}


def _leave(submitter: Submitter | None, unmade: list[Unmade]) -> NoReturn:
    """End the command without waiting (``wait=false``); code 1 where tasks are not submitted."""
    left = submitter.left if submitter else []
    if submitter and left:
        why = submitter.refusal or submitter.full or f"{submitter.parallelism} may run at once"
        _say(f"{len(left)} tasks are not submitted yet ({why}): the same command submits them later")
    for one in unmade:
        _say(f"not waiting for {one.run.directory.path}: python -m jobs.status shows it, the same command waits for it")
    sys.exit(1 if left else 0)


def _say(sentence: str) -> None:
    print(sentence, flush=True)
