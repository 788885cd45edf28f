"""Calls the diffusers pipeline of a run for one batch, and tells how each sample was made."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from jobs.dataset.layout import Sample
from jobs.dataset.record import as_text
from jobs.media.flat import is_flat
from jobs.model.embeddings import Embeddings
from jobs.model.forecast import Forecast, as_used
from jobs.model.handover import Handover
from jobs.model.pixels import gives_tensors, to_pixels
from jobs.model.tokens import Seen, TokenCounter
from jobs.options.model import ModelOptions
from spectrum.denoisers import BESIDE

FLAGGED = "flagged by the pipeline's safety checker (flagged=keep keeps such samples)"
NOT_FINITE = "the model's output is not finite: lower the guidance, or use a wider dtype"
FLAT = "the model's output is of one value everywhere: a wider dtype may mend it"


@dataclass(frozen=True)
class Made:
    """One sample as the pipeline made it.

    Attributes:
        media: uint8 (height, width, 3), or (frames, height, width, 3) of a clip.
        how: what its json says of how it was made, beside what all samples of the run share.
        adapted: what was done for want of memory; "": nothing.
    """

    media: np.ndarray
    how: dict[str, Any] = field(default_factory=dict)
    adapted: str = ""


@dataclass(frozen=True)
class Failure:
    """Why there is no sample to keep.

    Attributes:
        reason: for logs and summaries.
        strike: whether the sample itself is to blame.
        final: whether another attempt would come to the same.
    """

    reason: str
    strike: bool = True
    final: bool = False


@dataclass
class BatchPipeline:
    """A loaded pipeline that makes a batch a call, with Spectrum attached or not.

    Attributes:
        pipeline: a diffusers text-to-image or text-to-video pipeline.
        model: the model's options.
        forecast: how steps are forecast; None for the plain pipeline.
        spectrum: handle of the attached forecaster, or None for the plain pipeline.
        attach: attaches it again; None for the plain pipeline.
        counter: counts what the text encoders see of prompts; None where nobody asks.
        keep_flagged: whether samples that a safety checker flags are kept.
        group: the ``jobs.parallel.group.Group`` whose ranks make each batch together, or None.
        branches: ``jobs.parallel.guidance.Branches``, where ranks share the branches of guidance.
        embeddings: what the text encoders made so far; None where they are asked each time.
        handover: tells when a call has denoised; None where the next call may not begin before it is over.
    """

    pipeline: Any
    model: ModelOptions
    forecast: Forecast | None = None
    spectrum: Any = None
    counter: TokenCounter | None = None
    keep_flagged: bool = False
    group: Any = None
    branches: Any = None
    attach: Callable[[], Any] | None = None
    embeddings: Embeddings | None = None
    handover: Handover | None = None

    def __call__(self, batch: list[Sample], denoised: Callable[[], None] | None = None) -> list[Made | Failure]:
        """Make one batch: samples that share size, steps and guidance. In a group, all ranks call it alike.

        Args:
            batch: the samples.
            denoised: called when the batch has denoised, if there is a ``handover``: from its return on, another thread
                may make the next batch.

        Returns:
            One a sample. Rank 0 of a group gets them, the others an empty list.
        """
        if self.group and self.group.rank == 0:
            self.group.announce([sample.index for sample in batch])
        if self.branches:
            self.branches.restart()
        asked = self.arguments(batch)
        steps: dict[str, Any] = {}

        def at_decoding() -> None:
            steps.update(self._steps(batch))  # while the forecaster's last trajectory is this batch's
            if denoised:
                denoised()

        heard = self.handover.listening(at_decoding, apart=denoised is not None) if self.handover else nullcontext()
        with heard:
            with self.group.together() if self.group else nullcontext():
                output, flags = self._call_pipeline(batch, asked)
            if self.group and self.group.rank:
                return []
            media, finite = to_pixels(output)
        told = self._how(batch, asked, steps or self._steps(batch))
        return [self._judge(*one) for one in zip(media, finite, told, flags, strict=True)]

    def encode(self, batches: Iterable[list[Sample]]) -> None:
        """Encode the texts of batches that are to be made; ranks do it in the calls, together."""
        if self.embeddings and not self.group:
            self.embeddings.ahead(partial(self._call_pipeline, batch, self.arguments(batch)) for batch in batches)

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Have the call under way in another thread leave out its further steps; what it makes has no meaning then."""
        self.pipeline._interrupt = True  # what pipelines of diffusers look at before each step
        try:
            yield
        finally:
            self.pipeline._interrupt = False

    @contextmanager
    def all_steps(self) -> Iterator[None]:
        """Evaluate every step as long as this lasts."""
        if self.spectrum is None or self.attach is None:
            yield
            return
        self.spectrum.detach()
        self.spectrum = None
        try:
            yield
        finally:
            self.spectrum = self.attach()

    def _judge(self, media: np.ndarray, finite: bool, how: dict[str, Any], flag: bool | None) -> Made | Failure:
        flagged = bool(flag)
        if flagged and not self.keep_flagged:
            return Failure(FLAGGED, final=True)
        if not finite:
            return Failure(NOT_FINITE)
        if not flagged and is_flat(media):  # checkers paint over what they flag
            return Failure(FLAT)
        return Made(media, {**how, "flagged": flagged})

    def _steps(self, batch: list[Sample]) -> dict[str, Any]:
        """Return what the json of each sample says of the steps that were just taken."""
        steps = batch[0].options.num_inference_steps  # shared by the batch
        plans = self.spectrum.plans_by_denoiser if self.spectrum else {}
        in_turn = [plan for name, plan in plans.items() if name != BESIDE]
        return {
            "evaluated_steps": self.spectrum.statistics.evaluated_steps if self.spectrum else steps,
            "algo": as_used(self.forecast, in_turn, steps),
        }

    def _how(self, batch: list[Sample], asked: dict[str, Any], steps: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what the json of each sample says of how it was made."""
        shared = {**steps, "batch": len(batch)}
        negative = asked.get("negative_prompt")
        calls = [{**asked, "negative_prompt": one} for one in negative] if negative else [asked] * len(batch)
        seen = self.counter.seen([sample.prompt for sample in batch]) if self.counter else [{} for _ in batch]
        return [
            {**shared, "batch_position": position, "call": as_text(call), "encoders": _listed(seen[position])}
            for position, call in enumerate(calls)
        ]

    def arguments(self, batch: list[Sample]) -> dict[str, Any]:
        """Return what the pipeline is called with, beside prompts and generators."""
        options = batch[0].options  # shared by the batch
        asked: dict[str, Any] = {
            "height": options.height,
            "width": options.width,
            "num_inference_steps": options.num_inference_steps,
            self.model.guidance_argument: options.guidance_scale,
        }
        if self.model.negative_prompts:
            asked["negative_prompt"] = self._negative_prompts(batch)
        if self.model.fps is not None:
            asked["num_frames"] = options.num_frames
        return {**asked, "output_type": "np", **self.model.call}

    def _call_pipeline(self, batch: list[Sample], asked: dict[str, Any]) -> tuple[Any, list[bool | None]]:
        """Return images or clips as ``to_pixels`` takes them, and which were flagged."""
        import torch

        if asked["output_type"] == "np" and gives_tensors(self.pipeline):  # the same values, where they are
            asked = {**asked, "output_type": "pt"}
        result = self.pipeline(
            prompt=[sample.prompt for sample in batch],
            generator=[torch.Generator("cpu").manual_seed(sample.seed) for sample in batch],
            **asked,
        )
        output = result.images if self.model.fps is None else result.frames
        # Pipelines without a checker lack the field, and one whose checker was taken out has None there.
        return output, getattr(result, "nsfw_content_detected", None) or [False] * len(batch)

    def _negative_prompts(self, batch: list[Sample]) -> list[str] | None:
        """Return the batch's negative prompts: one for every sample, or none (``Sample.batch_settings``).

        SDXL has something of its own, all zeros, for "none"; other pipelines take the empty text, and some of these
        guide only if they are given one.
        """
        given = [sample.options.negative_prompt for sample in batch]
        zeros = self.pipeline.config.get("force_zeros_for_empty_prompt", False)
        return None if zeros and not any(given) else given


def _listed(seen: Mapping[str, Seen]) -> list[dict[str, Any]]:
    """Return what encoders saw of a prompt, for its json: never an empty list, whose kind readers could not tell."""
    rows = [{"encoder": name, "tokens": one.tokens, "limit": one.limit or 0} for name, one in seen.items()]
    return rows or [{"encoder": "", "tokens": 0, "limit": 0}]
