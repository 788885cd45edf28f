"""Makes one batch; when that fails, finds which sample is to blame."""

import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.execute.memory import TooLittleMemory
from jobs.model.pipeline import Failure, Made
from jobs.store.journal import Death

log = logging.getLogger(__name__)


class Blameless(BadInput):
    """A call failed for a reason that lies in no sample, and every later one would: the process is to end with it."""


Results = dict[int, Made | Failure]


@dataclass
class Suspicion:
    """What earlier processes died of.

    Only crashes count: a kill from outside, such as a lost node's or an administrator's, says nothing of a prompt,
    however often it comes. And only those of processes that had made other samples before, since a broken GPU or too
    little memory kill at every call.

    Attributes:
        deaths: of the attempts at this shard.
        crashes: so many in the same call are no accident.
        trying: told before each call, and whether this process is sound, so that the next one knows what it died of.
        sound: whether this process has made a call.
        others: samples that nobody died of, to make once before a call of those that processes were making when they
            died, alone or beside others; None where there are none.
    """

    deaths: list[Death] = field(default_factory=list)
    crashes: int = 2
    trying: Callable[[list[int], bool], None] = lambda indices, sound: None
    sound: bool = False
    others: list[Sample] | None = None

    def of(self, batch: list[Sample]) -> str:
        """Return why a call is not to be made any more; "" if it may be."""
        here = [death for death in self._crashes_at(batch) if death.sound]
        if len(here) < self.crashes:
            return ""
        return f"its process died {len(here)} times of it: {here[-1].words}"

    def begin(self, pipeline: Any, batch: list[Sample]) -> None:
        """Get ready for a call: make sure that it alone is to blame if the process dies of it."""
        indices, others = _indices(batch), _indices(self.others or [])
        named = {index for death in self.deaths if death.crashed for index in death.trying}
        if others and not self.sound and named.intersection(indices) and not set(others).intersection(indices):
            self.trying(others, False)
            with suppress(Exception):  # which says nothing of this batch
                pipeline(self.others)
                self.sound = True
        self.trying(indices, self.sound)

    def _crashes_at(self, batch: list[Sample]) -> list[Death]:
        return [death for death in self.deaths if death.crashed and death.trying == tuple(_indices(batch))]


def _indices(batch: list[Sample]) -> list[int]:
    return [sample.index for sample in batch]


def generate_batch(pipeline: Any, batch: list[Sample], suspicion: Suspicion | None = None) -> Results:
    """Make a batch; when it fails, find which sample is to blame.

    A failing batch is tried sample by sample. If some fail alone, they are the bad ones and the others' images from
    their own calls are kept: which of the two it is depends on the prompts only, so a resumed shard gets the same
    bytes. If none fails alone the failure was passing: the whole batch is tried once more, because the bytes of a batch
    of one may differ from those of a batch of many. A call that processes died of, time and again, counts as one that
    fails. One that does not fit into memory is not tried again: its samples fail if this process has made others, and
    else the process ends, since the next call would not fit either.

    Returns:
        Sample index -> what was made, or why there is none.

    Raises:
        Blameless: by the call.
        RuntimeError: the accelerator itself is broken, or has too little memory; the process cannot go on.
    """
    suspicion = suspicion or Suspicion()
    deadly = suspicion.of(batch)
    results = deadly or _try(pipeline, batch, suspicion)
    if isinstance(results, dict):
        return results
    if len(batch) == 1:
        return {batch[0].index: Failure(results, final=bool(deadly))}
    alone: Results = {}
    for sample in batch:
        alone |= generate_batch(pipeline, [sample], suspicion)
    if any(isinstance(result, Failure) for result in alone.values()):
        return alone
    results = deadly or _try(pipeline, batch, suspicion)
    if isinstance(results, dict):
        return results
    reason = f"fails only as a batch of {len(batch)} (use a new exp_name with a lower batch_size): {results}"
    return {sample.index: Failure(reason, strike=False) for sample in batch}


def _try(pipeline: Any, batch: list[Sample], suspicion: Suspicion) -> Results | str:
    """Return results by sample index, or the reason of the failure (text: a kept exception would keep its tensors)."""
    import torch

    try:
        suspicion.begin(pipeline, batch)
        results = dict(zip(_indices(batch), pipeline(batch), strict=True))
        suspicion.sound = True
        return results
    except Blameless:
        raise
    except TooLittleMemory as error:
        if not suspicion.sound:
            raise RuntimeError(str(error)) from error
        return {sample.index: Failure(str(error), strike=len(batch) == 1) for sample in batch}
    except Exception as error:
        log.warning("batch of %d from %s failed: %s", len(batch), batch[0].key, traceback.format_exc())
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            # every later call of this process fails too: no prompt is to blame
            raise RuntimeError(f"the accelerator failed and this process cannot go on: {error}") from error
        return reason_of(error)


def reason_of(error: BaseException) -> str:
    """Return how an exception is told in logs, journals and summaries."""
    return str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
