"""How Spectrum and its peers are switched on for one call of a pipeline, and off again."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import spectrum
from tools.benchmarks.common.denoisers import denoiser_of


class NotSupported(Exception):
    """A method cannot run a model; the message says why."""


@dataclass(frozen=True)
class Schedule:
    """Which of the steps run the denoiser whole."""

    config: spectrum.SpectrumConfig
    steps: int

    @property
    def evaluated(self) -> tuple[int, ...]:
        """The steps."""
        return self.config.evaluated_steps(self.steps)


@contextmanager
def plain(pipe: Any, schedule: Schedule) -> Iterator[None]:
    """Leave the pipeline as it is."""
    yield


def attached(target: str) -> Callable[[Any, Schedule], AbstractContextManager[Any]]:
    """Return the switch of Spectrum, published form, which gives its handle."""

    @contextmanager
    def on(pipe: Any, schedule: Schedule) -> Iterator[spectrum.Handle]:
        with spectrum.attach(pipe, schedule.config, target=target) as handle:
            handle.plan_for(schedule.steps)  # once for each handle, not for each call
            yield handle

    return on


def taylorseer(**options: Any) -> Callable[[Any, Schedule], AbstractContextManager[None]]:
    """Return the switch of diffusers' TaylorSeer with further options of its config."""

    @contextmanager
    def on(pipe: Any, schedule: Schedule) -> Iterator[None]:
        from diffusers import TaylorSeerCacheConfig

        before, interval = taylorseer_steps(schedule)
        config = TaylorSeerCacheConfig(cache_interval=interval, disable_cache_before_step=before, **options)
        with _diffusers_cache(pipe, config):
            yield

    return on


def taylorseer_steps(schedule: Schedule) -> tuple[int, int]:
    """Return ``disable_cache_before_step`` and ``cache_interval`` for as many evaluations, or nearly as many.

    TaylorSeer evaluates step s when s < before or (s - before - 1) mod interval = 0.
    """
    evaluated = schedule.evaluated
    before = next(step for step in range(schedule.steps + 1) if step not in evaluated)

    def count(interval: int) -> int:
        return before + len(range(before + 1, schedule.steps, interval))

    return before, min(range(2, schedule.steps + 1), key=lambda interval: abs(count(interval) - len(evaluated)))


@contextmanager
def first_block(pipe: Any, schedule: Schedule) -> Iterator[None]:
    """Switch on diffusers' FirstBlockCache, which then evaluates the schedule's steps."""
    from diffusers import FirstBlockCacheConfig

    with _diffusers_cache(pipe, FirstBlockCacheConfig()):
        for module in denoiser_of(pipe).modules():
            registry: Any = getattr(module, "_diffusers_hook", None)
            if registry and (hook := registry.get_hook("fbc_leader_block_hook")):
                _follow(hook, schedule.evaluated)
        yield


def _follow(hook: Any, evaluated: tuple[int, ...]) -> None:
    """Let the hook measure its residual as ever, and then decide as the plan says."""
    measure, calls = hook._should_compute_remaining_blocks, Counter[str]()

    def decide(residual: Any) -> bool:
        measure(residual)
        branch = hook.state_manager.context.name
        calls[branch] += 1
        return calls[branch] - 1 in evaluated

    hook._should_compute_remaining_blocks = decide


@contextmanager
def _diffusers_cache(pipe: Any, config: Any) -> Iterator[None]:
    denoiser: Any = denoiser_of(pipe)
    if not hasattr(denoiser, "enable_cache"):
        raise NotSupported(f"{type(denoiser).__name__} has no enable_cache")
    with _left_as_found(pipe):
        denoiser.enable_cache(config)
        try:
            yield
        finally:
            denoiser.disable_cache()


@contextmanager
def cache_dit(pipe: Any, schedule: Schedule) -> Iterator[None]:
    """Switch on cache-dit, which then evaluates the schedule's steps."""
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "ERROR")
    try:
        import cache_dit as library
    except ImportError as error:
        raise NotSupported(f"cache-dit cannot be imported ({error})") from None
    config = library.DBCacheConfig(
        Fn_compute_blocks=1,
        Bn_compute_blocks=0,
        num_inference_steps=schedule.steps,
        steps_computation_mask=[int(step in schedule.evaluated) for step in range(schedule.steps)],
        steps_computation_policy="static",
    )
    with _left_as_found(pipe):
        library.enable_cache(pipe, cache_config=config)
        try:
            yield
        finally:
            library.disable_cache(pipe)


@contextmanager
def _left_as_found(pipe: Any) -> Iterator[None]:
    """Take off what a peer leaves behind when it is disabled.

    cache-dit leaves its own forward of Flux, and the children of every denoiser in another order, in which
    FirstBlockCache takes the wrong block for the first.
    """
    modules = list(denoiser_of(pipe).modules())
    before = [vars(pipe), *map(vars, modules), *(module._modules for module in modules)]
    copies = [dict(one) for one in before]
    try:
        yield
    finally:
        for one, copy in zip(before, copies, strict=True):
            one.clear()
            one.update(copy)
