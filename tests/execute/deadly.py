"""A task with a stand-in for the model, for tests of how its processes end: ``python -m tests.execute.deadly``.

The stand-in draws a picture at once, except where the prompt says otherwise: "die" ends its process by a segmentation
fault, "break" is an accelerator that fails, and "wait" waits until the file of that name lies beside the run.
"""

import os
import signal
import sys
import time
from typing import Any

from jobs.dataset.layout import Sample
from jobs.execute import worker
from jobs.model.pipeline import Failure, Made
from tests.support import HOW, picture

SETTINGS = ("device=cpu", "exp_name=run", "batch_size=2", "shard_size=4")


class StandIn:
    """Takes the place of a ``BatchPipeline``."""

    def __init__(self, run: Any):
        self.gate = run.directory.path.parent / "wait"

    def __call__(self, batch: list[Sample]) -> list[Made | Failure]:
        prompts = [sample.prompt for sample in batch]
        if "die" in prompts:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "break" in prompts:
            raise RuntimeError("CUDA error: the device fell off the bus")
        while "wait" in prompts and not self.gate.exists():
            time.sleep(0.02)
        return [Made(picture(sample.seed + len(batch)), HOW) for sample in batch]


# In the server that workers are forked from, too, since that imports this module.
worker.load = lambda run, device, group: StandIn(run)  # type: ignore
worker.common_of = lambda run, pipeline, device: {"environment": {"name": "stand-in"}, "model": "none"}  # type: ignore


def main() -> None:
    """Work all unfinished shards of the run that the options name; with ``ngpu`` workers at once."""
    from jobs.execute import local
    from jobs.execute.task import Task
    from jobs.run.open import create
    from tests.support import resolved

    local.PRELOADED = ["tests.execute.deadly", "torch"]
    run = resolved(*SETTINGS, *sys.argv[1:])
    create(run)
    Task(run, run.unfinished(), 0, run.options.ngpu)()


if __name__ == "__main__":
    main()
