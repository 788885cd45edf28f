"""Makes one batch of a run with networks that have shapes and no contents, and tells what each stage took."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

import spectrum
from jobs.base.errors import BadInput, first_line
from jobs.dataset.layout import Sample
from jobs.model.load import quieten, set_up
from jobs.model.pipeline import BatchPipeline
from jobs.rehearse.counting import META, Counter, Work
from jobs.rehearse.parts import build, read_index, weights_of
from jobs.rehearse.published import PUBLISHED
from jobs.rehearse.repeats import run_repeats_once
from jobs.run.run import Run
from spectrum.denoisers import IN_PIPELINES

STEPS = 6  # of two denoisers that share a trajectory each has two or more: one is evaluated and the others forecast
ENCODE, DENOISE, DECODE = "encode", "denoise", "decode"
_TINY = 8  # pixels of the stand-in for a decoded picture: nothing that follows depends on its size


@dataclass(frozen=True)
class Part:
    """A network of a pipeline: its name there, class, parameters, and bytes of its weights as they are loaded."""

    name: str
    kind: str
    parameters: int
    bytes: int
    stage: str


@dataclass(frozen=True)
class Rehearsal:
    """What one batch takes.

    Attributes:
        batch: samples in it.
        parts: the networks.
        encode: the text encoders' work.
        evaluated: that of the denoiser in a step that is evaluated, all guidance branches together.
        forecast: in a step that is forecast, from one kept row; None where no step was.
        growth: bytes that another forecast step leaves behind.
        row: bytes that are kept of an evaluated step, all branches together.
        decode: the autoencoder's work; its peak holds what it grows by where it is widened for decoding.
    """

    batch: int
    parts: tuple[Part, ...]
    encode: Work
    evaluated: Work
    forecast: Work | None
    growth: int
    row: int
    decode: Work


def rehearse(run: Run, sample: Sample | None = None) -> Rehearsal:
    """Make a batch without weights.

    Args:
        run: its model and options.
        sample: the batch's only one; None: the run's first batch.

    Raises:
        BadInput: the model's sizes are not known here, or its code cannot be followed without contents.
    """
    options, checkpoint = run.options, run.checkpoint
    folders = {part.name: part.place for part in checkpoint.parts if part.place and part.place.is_dir()}
    known = checkpoint.single.config if checkpoint.single else checkpoint.path
    index = read_index(checkpoint.folder, folders) if checkpoint.folder else PUBLISHED.get(known)
    if index is None:
        raise BadInput(
            f"the sizes of {checkpoint.path} are in its files, which are not here: {checkpoint.download_command}"
        )
    quieten()
    pipeline = build(index, options.model)
    set_up(pipeline, options.model)
    batch = [_with_few_steps(one) for one in ([sample] if sample else run.layout.batches(0)[0])]
    stored = {part.name: part.place.stat().st_size for part in checkpoint.parts if part.place and part.quantised}
    stage = _Stage(pipeline, options.model.quantization or {}, stored)
    attached = None
    try:
        if run.forecast:
            config = replace(run.forecast.config, history_device=None)  # which changes no number of what is counted
            attached = spectrum.attach(pipeline, config, schedule=lambda _: range(1), target=run.forecast.target)
        with stage.watched():
            BatchPipeline(pipeline, options.model, run.forecast, attached)(batch)
    except Exception as error:  # any code may be in a pipeline, and not all of it can be followed without numbers
        raise BadInput(f"{checkpoint.path} cannot be rehearsed: {first_line(error)}") from error
    row = max(one.history_bytes for one in attached.statistics_by_denoiser.values()) if attached else 0
    return stage.rehearsal(len(batch), row)


def _with_few_steps(sample: Sample) -> Sample:
    return replace(sample, options=replace(sample.options, num_inference_steps=STEPS))


class _Stage:
    """Has the networks of a pipeline compute on the meta device and answer with zeros, and keeps account."""

    def __init__(self, pipeline: Any, quantization: dict[str, str], stored: dict[str, int]) -> None:
        self._pipeline = pipeline
        self._step = 0
        self._calls: list[tuple[int, str, str, Work]] = []
        self._live: dict[int, int] = {}  # step -> bytes that are kept after it
        self._modules = {name: one for name, one in pipeline.components.items() if isinstance(one, torch.nn.Module)}
        self._counter = Counter(one for module in self._modules.values() for one in _tensors(module))
        self._parts = tuple(
            Part(
                name,
                type(one).__name__,
                sum(weights.numel() for weights in one.parameters()),
                stored.get(name) or weights_of(one, quantization.get(name)),
                DENOISE if name in IN_PIPELINES else DECODE if name == "vae" else ENCODE,
            )
            for name, one in self._modules.items()
        )

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Stand between the pipeline and its networks."""
        for part in self._parts:
            module = self._modules[part.name]
            run_repeats_once(module, self._counter)
            where = "decode" if part.stage == DECODE else "forward"
            setattr(module, where, self._around(part, module, getattr(module, where)))
        step = self._pipeline.scheduler.step

        def stepped(*args: Any, **kwargs: Any) -> Any:
            self._step += 1
            result = step(*args, **kwargs)
            self._live[self._step] = self._counter.live
            return result

        self._pipeline.scheduler.step = stepped
        yield

    def _around(self, part: Part, module: torch.nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def answered(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = tree_map_only(torch.Tensor, lambda one: one.to(META), (args, kwargs))
            with self._counter.work() as result:
                output = call(*args, **kwargs)
            (work,) = result
            if part.stage == DECODE:  # some pipelines widen it just before
                work = replace(work, peak=work.peak + max(weights_of(module) - part.bytes, 0))
            self._calls.append((self._step, part.name, part.stage, work))
            return tree_map_only(torch.Tensor, _small if part.stage == DECODE else _empty, output)

        return answered

    def rehearsal(self, batch: int, row: int) -> Rehearsal:
        """Return what was counted."""
        evaluated = sum((work for step, _, stage, work in self._calls if stage == DENOISE and step == 0), Work())
        forecast, growth = None, 0
        if row:
            forecast = sum((work for step, _, stage, work in self._calls if stage == DENOISE and step == 1), Work())
            *_, before, after, _ = self._live.values()  # with the last step, what was kept is freed
            growth = after - before
        encode = sum((work for *_, stage, work in self._calls if stage == ENCODE), Work())
        decode = sum((work for *_, stage, work in self._calls if stage == DECODE), Work())
        return Rehearsal(batch, self._parts, encode, evaluated, forecast, growth, row, decode)


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor, device="cpu")


def _small(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros((*tensor.shape[:-2], _TINY, _TINY), dtype=tensor.dtype)
