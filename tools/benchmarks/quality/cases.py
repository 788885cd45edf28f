"""What is compared: methods, step counts and evaluation counts, and how each is switched on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import spectrum
from tools.benchmarks.common.methods import KINDS
from tools.benchmarks.common.peers import Schedule, taylorseer_steps

EVALUATIONS = {50: (8, 10, 12, 14, 17, 20), 28: (6, 8, 9, 11, 14)}  # of how many steps
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the Chebyshev form; with 0 it is the line
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
PUBLISHED = (0.75, 3.0)  # growths of the window; taken where they give the count

Switch = Callable[[Any], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Case:
    """One method at one setting.

    Attributes:
        method: Its name in tables.
        setting: Tells the method's cases with one reference apart.
        steps: Denoising steps of the reference.
        taken: Steps the pipeline is asked for.
        switch: Makes a pipeline use the method, within the context.
    """

    method: str
    setting: str
    steps: int
    taken: int
    switch: Switch

    @property
    def key(self) -> str:
        """Names the case among all of a model's."""
        return f"{self.steps} {self.method} {self.setting}"


@dataclass(frozen=True)
class Hold:
    """The rule that repeats the last feature."""

    def coefficients(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> np.ndarray:
        """Return one for the last evaluation, zero for the others: float64 (K,)."""
        return np.eye(len(evaluated_before))[-1]

    def describe(self) -> str:
        """Return its name in a plan's digest."""
        return "hold"


def schedule(steps: int, evaluations: int) -> spectrum.SpectrumConfig:
    """Return options that evaluate just so many steps: the published growth of the window if that fits, else the least.

    Raises:
        ValueError: No growth gives that count.
    """
    for flex in (*PUBLISHED, *np.arange(0, 60, 0.05).round(2).tolist()):
        config = spectrum.SpectrumConfig(flex_window=flex)
        if len(config.evaluated_steps(steps)) == evaluations:
            return config
    raise ValueError(f"no growth of the window evaluates {evaluations} of {steps} steps")


def all_cases(steps: int, caches: bool = True) -> list[Case]:
    """Return every case with a reference of ``steps`` steps that needs nothing but the model.

    Args:
        steps: Of the reference.
        caches: With those of diffusers.
    """
    found = []
    for count in EVALUATIONS[steps]:
        found += [*_chebyshev(steps, count), Case("fewer steps", str(count), steps, count, nullcontext)]
        found.append(Case("hold", str(count), steps, steps, attached(schedule(steps, count), Hold())))
    if not caches:
        return found
    found += [_taylorseer(kind, steps, count) for kind in ("taylorseer", "taylorseer-lite") for count in _counts(steps)]
    found += [Case("FirstBlockCache", f"threshold {t:g}", steps, steps, _first_block(t)) for t in THRESHOLDS]
    return found


def _chebyshev(steps: int, count: int) -> Iterator[Case]:
    config = schedule(steps, count)
    yield Case("linear", str(count), steps, steps, attached(replace(config, w=0.0)))
    for w in SHARES:
        yield Case(f"Chebyshev w={w:g} H=n", str(count), steps, steps, attached(replace(config, w=w)))
    for w in (0.5, 1.0) if steps != 50 else ():  # the published time axis
        yield Case(f"Chebyshev w={w:g} H=50", str(count), steps, steps, attached(replace(config, w=w, horizon=50)))


def _counts(steps: int) -> list[int]:
    """Return the evaluation counts that TaylorSeer can come close to, each once."""
    intervals = {taylorseer_steps(Schedule(schedule(steps, count), steps))[1]: count for count in EVALUATIONS[steps]}
    return sorted(intervals.values())


def _taylorseer(kind: str, steps: int, count: int) -> Case:
    plan = Schedule(schedule(steps, count), steps)
    return Case(KINDS[kind].title, str(count), steps, steps, lambda pipe: KINDS[kind].on(pipe, plan))


def attached(config: spectrum.SpectrumConfig, rule: Any = None, schedule: Any = None) -> Switch:
    """Return the arguments of ``spectrum.attach`` as a case's switch."""
    return lambda pipe: spectrum.attach(pipe, config, rule=rule, schedule=schedule)


def _first_block(threshold: float) -> Switch:
    @contextmanager
    def on(pipe: Any) -> Iterator[None]:
        from diffusers import FirstBlockCacheConfig

        pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
        try:
            yield
        finally:
            pipe.transformer.disable_cache()

    return on
