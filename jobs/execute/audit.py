"""Makes some samples of a run with all steps as well, and says how near the forecasts came."""

import json
import logging
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.execute.batch import Results, generate_batch
from jobs.media.fidelity import MOST, psnr, ssim
from jobs.model.pipeline import Made
from jobs.run.run import Run
from jobs.store.parts import share

log = logging.getLogger(__name__)


class Audit:
    """The audits of one process.

    A sample is made again in its own batch, whose size decides the last bits of all in it.

    Args:
        run: the run; without ``audit_every`` nothing is audited.
        pipeline: with forecasts attached.
    """

    def __init__(self, run: Run, pipeline: Any):
        self._run, self._pipeline = run, pipeline
        self._every = run.options.audit_every

    def check(self) -> None:
        """Make sure, once in a run, that a sample comes out alike when it is made twice.

        Raises:
            BadInput: it does not, and an audit would compare with chance.
        """
        if self._every is None:
            return
        folder, name = self._run.directory.work / "audit", "twice.json"
        share(folder, {name: self._make_twice}, enough=lambda: False, heard=lambda count: None)
        nearest = json.loads((folder / name).read_text())
        if nearest is None:
            log.warning("audits may compare with chance: the first samples failed, so none could be made twice")
        elif nearest < MOST:
            raise BadInput(
                "audit_every compares samples with the same ones made with all steps, and this model makes them other "
                f"each time (two of one sample have {nearest:.1f} dB): leave audit_every out"
            )

    def _make_twice(self) -> bytes:
        """Return the PSNR in dB of a sample to itself made again, both with all steps; null where all failed."""
        batch = self._run.layout.batches(0)[0]
        first, second = (self._whole(batch) for _ in range(2))
        pairs = [(first.get(one.index), second.get(one.index)) for one in batch]
        near = [psnr(two.media, one.media) for one, two in pairs if isinstance(one, Made) and isinstance(two, Made)]
        return json.dumps(min(near, default=None)).encode()

    def is_due(self, batch: list[Sample]) -> bool:
        """Return whether a batch has a sample that is audited, so that all of it is made twice."""
        return self._every is not None and any(one.index % self._every == 0 for one in batch)

    def of(self, batch: list[Sample], results: Results) -> dict[int, dict[str, Any]]:
        """Audit what was made of a batch.

        Args:
            batch: the samples.
            results: what was made of those whose turn it may be.

        Returns:
            Sample index -> PSNR (dB) and SSIM to all steps, and the floor; of those audited.
        """
        if self._every is None:
            return {}
        due = [one for one in batch if one.index % self._every == 0 and isinstance(results.get(one.index), Made)]
        whole = self._whole(batch) if due else {}
        found = {}
        for one in due:
            made, reference = results[one.index], whole[one.index]
            if isinstance(made, Made) and isinstance(reference, Made):
                near = {"psnr": psnr(made.media, reference.media), "ssim": ssim(made.media, reference.media)}
                found[one.index] = {"key": one.key, **near, "floor": self._run.options.audit_floor}
        return found

    def _whole(self, batch: list[Sample]) -> Results:
        with self._pipeline.all_steps():
            return generate_batch(self._pipeline, batch)
