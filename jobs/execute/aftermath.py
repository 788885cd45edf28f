"""Watches tasks leave the queue: what became of them, which nodes are to blame, and what is submitted once more."""

from collections import Counter
from collections.abc import Callable, Iterable

from jobs.execute import queue
from jobs.execute.begun import begun
from jobs.execute.launches import Queued, spelled
from jobs.execute.nodes import IN_A_ROW, Nodes
from jobs.execute.postmortem import End, ends_of, told
from jobs.execute.submit import Submitter
from jobs.store.rundir import RunDir

# Ends that may be a node's fault: not those by Slurm's or somebody's hand (CANCELLED, PREEMPTED), of a limit (TIMEOUT,
# OUT_OF_MEMORY), or of a node that Slurm itself takes out then (NODE_FAIL).
_BY_ITSELF = ("FAILED", "BOOT_FAIL", "LAUNCH_FAILED")
AGAIN = 2  # times that a task which died on a bad node is submitted once more


class Aftermath:
    """What is known of the tasks that have left the queue with shards unfinished.

    Args:
        runs: whose tasks they are.
        submitter: of this command's launch, if it has one.
        say: called with a sentence.
        fail: called with a sentence about a failure.
    """

    def __init__(
        self,
        runs: list[RunDir],
        submitter: Submitter | None,
        say: Callable[[str], None],
        fail: Callable[[str], None],
    ):
        self._runs = {spelled(run.path): run for run in runs}
        self._submitter, self._say, self._fail = submitter, say, fail
        self._before: dict[str, Queued] = {}
        self._ended: dict[Queued, End] = {}
        self._at_start: dict[Queued, str] = {}  # those that died there, and where
        self._times: Counter[int] = Counter()
        self._nodes = Nodes()
        self._gave_up = ""

    def expect(self, tasks: list[Queued]) -> None:
        """Hear of tasks that were just submitted: the next look shows them, or they have ended by then."""
        self._before |= {task.job.id: task for task in tasks}

    def see(self, tasks: list[Queued]) -> None:
        """Take a look at the queue: what was there before and is not any more has ended."""
        now = {task.job.id: task for task in tasks}
        gone = {job: task for job, task in self._before.items() if job not in now}
        done = self._done()
        left = {job: task for job, task in gone.items() if not self._is_done(task, done)}
        ends = ends_of(left) if left else {}
        worked = self._worked(left.values())
        # What Slurm calls pending or running is on its way back into the queue, or on its way out: at the next look.
        self._before = now | {job: task for job, task in left.items() if job not in ends}
        for job, task in {**now, **gone}.items():
            if task.job.node and ((job, task.job.node) in worked or (job in gone and job not in left)):
                self._nodes.began(task.job.node)
        buried = {task: ends[job] for job, task in left.items() if job in ends}
        self._ended |= buried
        for sentence in told(buried):
            self._fail(sentence)
        for task, end in buried.items():
            began = (task.job.id, end.node) in worked or bool(done[task.run] & set(task.shards))
            if end.node and not began and end.state in _BY_ITSELF:
                self._hold_against(end.node, task, end)

    def told(self) -> list[str]:
        """Return a sentence for each way in which tasks ended whose shards are still not done."""
        done = self._done()
        ended = {task: end for task, end in self._ended.items() if not self._is_done(task, done)}
        return [*filter(None, [self._gave_up]), *told(ended)]

    def forget(self, run: RunDir) -> None:
        """Submit nothing of a run once more, since it was cancelled."""
        self._runs.pop(spelled(run.path), None)

    def _done(self) -> dict[str, set[int]]:
        return {path: run.done_shards() for path, run in self._runs.items()}

    def _is_done(self, task: Queued, done: dict[str, set[int]]) -> bool:
        return task.run not in done or done[task.run].issuperset(task.shards)

    @staticmethod
    def _worked(tasks: Iterable[Queued]) -> set[tuple[str, str]]:
        """Return the (job, node) of tasks that have come to their work, of the launches of these."""
        return {mark for folder in {task.launch.folder for task in tasks} for mark in begun(folder)}

    def _hold_against(self, node: str, task: Queued, end: End) -> None:
        self._at_start[task] = node
        if self._nodes.died_at_start(node):
            self._judge(node, end)
        elif node in self._nodes.bad:
            self._once_more(node)

    def _judge(self, node: str, end: End) -> None:
        """A node is bad since now: keep away from it, unless it is not the node."""
        bad = self._nodes.bad
        said = f"the last {IN_A_ROW} tasks on {node} ended before they began anything ({end})"
        settings = self._submitter.settings if self._submitter else {}
        others = queue.nodes(settings.get("partition"))
        if not self._nodes.at_fault or (others and others <= set(bad)):
            where = " and ".join(bad)
            self._gave_up = f"tasks end before they begin anything, on {where} alike: nothing more is submitted"
            if self._submitter:
                self._submitter.left.clear()
                self._submitter.launch.avoid([])
            self._say(f"{said}: {self._gave_up}")
            return
        if not self._submitter:
            self._say(f"{said}: leave it out with hydra.launcher.exclude={node}")
            return
        self._say(f"{said}: no more tasks go there (hydra.launcher.exclude={node} says so from the start)")
        self._submitter.keep_away(node)
        self._once_more(node)

    def _once_more(self, node: str) -> None:
        """Put the tasks that died on a bad node among those to be submitted."""
        if not self._submitter or self._gave_up:
            return
        own = [
            task.number
            for task, where in self._at_start.items()
            if where == node and task.launch == self._submitter.launch and task.run in self._runs
        ]
        again = [number for number in own if self._times[number] < AGAIN]
        self._times.update(again)
        self._submitter.again(again)
        self._at_start = {task: where for task, where in self._at_start.items() if where != node}
