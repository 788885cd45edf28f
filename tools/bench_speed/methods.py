"""The methods: what each is called, how it is switched on for one call of a pipeline, and off again.

Every peer is set up to run the denoiser whole on as many steps as a plan of Spectrum does, on the very same steps
where it lets one choose them.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import spectrum
from tools.bench_speed.models import denoiser_of

FLEXES = ("0.75", "3")
# Attention of the blocks: what TaylorSeer takes when it is given nothing, plus Wan's, whose names its own pattern
# (which ends with "attn") misses.
_ATTENTION = r"(blocks|transformer_blocks|single_transformer_blocks)\.\d+\.attn[12]?"


class NotSupported(Exception):
    """A method cannot run a model; the message says why."""


@dataclass(frozen=True)
class Schedule:
    """Which of the steps run the denoiser whole."""

    config: spectrum.SpectrumConfig
    steps: int

    @property
    def evaluated(self) -> tuple[int, ...]:
        """These steps."""
        return self.config.evaluated_steps(self.steps)


@dataclass(frozen=True)
class Method:
    """One row of a table: a kind, with as many evaluations as Spectrum has at a `flex_window`; plain has none."""

    kind: str
    flex: str = ""

    @property
    def name(self) -> str:
        """As it is given at the command line."""
        return f"{self.kind}-{self.flex}" if self.flex else self.kind

    def schedule(self, steps: int, **options: Any) -> Schedule:
        """Its plan for so many steps; `options` are further ones of `SpectrumConfig`."""
        if not self.flex:
            return Schedule(spectrum.SpectrumConfig(warmup_steps=steps), steps)
        return Schedule(spectrum.SpectrumConfig(flex_window=float(self.flex), **options), steps)

    def on(self, pipe: Any, schedule: Schedule) -> AbstractContextManager[None]:
        """The pipeline with this method, within the context.

        Raises:
            NotSupported: It cannot run this pipeline. What it cannot do may also show only in the call.
        """
        return KINDS[self.kind].on(pipe, schedule)


@contextmanager
def _plain(pipe: Any, schedule: Schedule) -> Iterator[None]:
    yield


@contextmanager
def _spectrum(pipe: Any, schedule: Schedule) -> Iterator[None]:
    with spectrum.attach(pipe, schedule.config) as handle:
        handle.plan_for(schedule.steps)  # once for each handle, not for each call
        yield


def _taylorseer(**options: Any) -> Callable[[Any, Schedule], AbstractContextManager[None]]:
    @contextmanager
    def on(pipe: Any, schedule: Schedule) -> Iterator[None]:
        from diffusers import TaylorSeerCacheConfig

        before, interval = taylorseer_steps(schedule)
        config = TaylorSeerCacheConfig(cache_interval=interval, disable_cache_before_step=before, **options)
        with _diffusers_cache(pipe, config):
            yield

    return on


def taylorseer_steps(schedule: Schedule) -> tuple[int, int]:
    """`disable_cache_before_step` and `cache_interval` with as many evaluations, or the closest number there is.

    TaylorSeer evaluates step s when s < before or (s - before - 1) mod interval = 0.
    """
    evaluated = schedule.evaluated
    before = next(step for step in range(schedule.steps + 1) if step not in evaluated)

    def count(interval: int) -> int:
        return before + len(range(before + 1, schedule.steps, interval))

    return before, min(range(2, schedule.steps + 1), key=lambda interval: abs(count(interval) - len(evaluated)))


@contextmanager
def _first_block(pipe: Any, schedule: Schedule) -> Iterator[None]:
    from diffusers import FirstBlockCacheConfig

    with _diffusers_cache(pipe, FirstBlockCacheConfig()):
        for module in denoiser_of(pipe).modules():
            registry: Any = getattr(module, "_diffusers_hook", None)
            if registry and (hook := registry.get_hook("fbc_leader_block_hook")):
                _follow(hook, schedule.evaluated)
        yield


def _follow(hook: Any, evaluated: tuple[int, ...]) -> None:
    """Lets the hook measure its residual as ever, and then decide as the plan says."""
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
def _cache_dit(pipe: Any, schedule: Schedule) -> Iterator[None]:
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "ERROR")
    try:
        import cache_dit
    except ImportError as error:
        raise NotSupported(f"cache-dit cannot be imported ({error})") from None
    config = cache_dit.DBCacheConfig(
        Fn_compute_blocks=1,
        Bn_compute_blocks=0,
        num_inference_steps=schedule.steps,
        steps_computation_mask=[int(step in schedule.evaluated) for step in range(schedule.steps)],
        steps_computation_policy="static",
    )
    with _left_as_found(pipe):
        cache_dit.enable_cache(pipe, cache_config=config)
        try:
            yield
        finally:
            cache_dit.disable_cache(pipe)


@contextmanager
def _left_as_found(pipe: Any) -> Iterator[None]:
    """Takes off what a peer leaves behind when it is disabled.

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


@dataclass(frozen=True)
class Kind:
    """What a method is called in the report, how it is switched on, and how it was set up, for the notes."""

    title: str
    on: Callable[[Any, Schedule], AbstractContextManager[None]]
    note: str


KINDS: dict[str, Kind] = {
    "plain": Kind("plain", _plain, "the pipeline as it is."),
    "spectrum": Kind(
        "Spectrum", _spectrum, "`spectrum.attach`, warm-up 5, window 2 and the `flex_window` named, all else default."
    ),
    "taylorseer": Kind(
        "TaylorSeer",
        _taylorseer(cache_identifiers=[_ATTENTION]),
        "`TaylorSeerCacheConfig` of diffusers, order 1, on the attention of every block as it is by default (its "
        "default pattern finds none in Wan, so the modules are named); all else in the blocks runs on every step. "
        "`disable_cache_before_step` 5 and the `cache_interval` that gives the same number of evaluations.",
    ),
    "taylorseer-lite": Kind(
        "TaylorSeer lite",
        _taylorseer(use_lite_mode=True),
        "the same with `use_lite_mode`: no block runs on a forecast step, and the output of the last projection is "
        "forecast.",
    ),
    "fbcache": Kind(
        "FirstBlockCache",
        _first_block,
        "`FirstBlockCacheConfig` of diffusers. Random weights leave its residual without a meaning, so it measures "
        "the residual and waits for it as ever, and then follows Spectrum's plan.",
    ),
    "cache-dit": Kind(
        "cache-dit",
        _cache_dit,
        "`DBCacheConfig` with the first block of each stack computed on every step (`Fn_compute_blocks` 1, the least), "
        "none at the end, no calibrator, and Spectrum's plan as `steps_computation_mask`, `static`.",
    ),
}


def expand(names: list[str]) -> list[Method]:
    """The methods of these names, plain first; a kind without a flex stands for both.

    Raises:
        ValueError: There is no such method.
    """
    methods = [Method("plain")]
    for name in names:
        kind, flex = m.groups() if (m := re.fullmatch(r"(.+?)(?:-(0\.75|3))?", name)) else (name, None)
        if kind not in KINDS or (kind == "plain" and flex):
            raise ValueError(name)
        chosen = [Method(kind, one) for one in ([flex] if flex else FLEXES)] if kind != "plain" else []
        methods += [method for method in chosen if method not in methods]
    return methods
