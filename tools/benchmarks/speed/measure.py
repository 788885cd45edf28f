"""All methods on one model: a short call of each to warm up, then calls in turns until the time is used up."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from jobs.model.kernels import compile_denoiser, set_attention
from tools.benchmarks.common.denoisers import Model, Scale, build, call_arguments, denoiser_of
from tools.benchmarks.common.methods import Method
from tools.benchmarks.common.peers import NotSupported, Schedule
from tools.benchmarks.speed.timing import Counts, Run, counting, timed_call

WARM_UP_STEPS = 4  # two of them forecast
LEAST_PLAIN_STEPS = 8
MARGIN = 1.1  # a call takes longer than its steps

OWN = ("plain", "spectrum", "spectrum-output")  # whose failures are mistakes of ours
Row = dict[str, Any]


@dataclass(frozen=True)
class Conditions:
    """What the methods of one table have in common.

    Attributes:
        scale: Of the model; 1 is its real size.
        steps: Denoising steps.
        repeats: Turns, at most.
        device, dtype: Where, and of what kind.
        deadline: A time of ``time.perf_counter``.
        batch: Samples a call.
        compile: As ``model.compile`` of the runner.
        attention: As ``model.attention``.
    """

    scale: float
    steps: int
    repeats: int
    device: torch.device
    dtype: torch.dtype
    deadline: float
    batch: int = 1
    compile: str = "none"
    attention: str | None = None


def measure(model: Model, methods: list[Method], conditions: Conditions) -> Iterator[dict[str, Row]]:
    """Measure the methods side by side; yield the rows by name after each call.

    A row is a result, or says under ``not_supported`` why there is none. A method that the time does not suffice for
    has no row.
    """
    size = model.size(Scale(conditions.scale))
    pipe = build(model, size, conditions.device, conditions.dtype)
    if conditions.attention:
        set_attention(denoiser_of(pipe), conditions.attention)
    if conditions.compile != "none":
        compile_denoiser(denoiser_of(pipe), conditions.compile)
    arguments = call_arguments(model, size, conditions.device, conditions.dtype, conditions.batch)
    with counting(denoiser_of(pipe)) as counts:
        yield from _measure(methods, conditions, partial(_attempt, pipe=pipe, arguments=arguments, counts=counts))


def _measure(
    methods: list[Method], conditions: Conditions, attempt: Callable[..., Run | str]
) -> Iterator[dict[str, Row]]:
    rows: dict[str, Row] = {}
    estimates: dict[str, float] = {}
    for method in methods:
        outcome = attempt(method, method.schedule(WARM_UP_STEPS, warmup_steps=1))
        if isinstance(outcome, Run):
            estimates[method.name] = _estimate(outcome, len(method.schedule(conditions.steps).evaluated), conditions)
        else:
            rows[method.name] = {"not_supported": outcome}
    yield dict(rows)

    names, plain_steps = fit(estimates, conditions.steps, conditions.deadline - time.perf_counter())
    for name in estimates.keys() - set(names):
        print(f"no time for {name}: give it a call of its own or a longer --time-limit", file=sys.stderr)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for turn in range(conditions.repeats):
        start = time.perf_counter()
        # Whatever changes in the course of a turn, such as a clock, is for one method in the next what it was for
        # another in this.
        for method in [one for one in methods[:: -1 if turn % 2 else 1] if one.name in runs]:
            steps = conditions.steps if method.flex else plain_steps
            outcome = attempt(method, method.schedule(steps))
            if isinstance(outcome, Run):
                runs[method.name].append(outcome)
                print(f"turn {turn + 1}: {method.name} {outcome.seconds:.2f} s", file=sys.stderr)
            else:
                rows[method.name] = {"not_supported": outcome}
                del runs[method.name]
            measured = {name: many for name, many in runs.items() if many and runs["plain"]}
            yield rows | {name: summarize(many, runs["plain"], conditions.steps) for name, many in measured.items()}
        if time.perf_counter() + (time.perf_counter() - start) > conditions.deadline:
            break


def fit(estimates: dict[str, float], steps: int, budget: float) -> tuple[list[str], int]:
    """Choose what one turn can hold.

    Args:
        estimates: Seconds that each method takes for all steps, by name; plain is among them.
        steps: Steps of the schedule.
        budget: Seconds there are for the turn.

    Returns:
        The methods, the last ones left out if need be, and the number of steps that plain is run for: all, or as
        many as there is time for; its steps are all alike.
    """
    names, least = list(estimates), min(steps, LEAST_PLAIN_STEPS)
    while True:
        others = sum(estimates[name] for name in names if name != "plain")
        plain_steps = int(min(steps, (budget - others) / (estimates["plain"] / steps)))
        if plain_steps >= least or len(names) == 1:
            return names, max(plain_steps, least)
        names.pop()


def summarize(runs: list[Run], plain: list[Run], steps: int) -> Row:
    """Return the medians of a method's runs, beside those of the plain pipeline in the same turns.

    Runs of a turn in which the other has not come yet are left out.
    """
    runs, plain = runs[: len(plain)], plain[: len(runs)]
    seconds = [run.scaled_seconds(steps) for run in runs]
    beside = [run.scaled_seconds(steps) for run in plain]
    first = runs[0]
    row: Row = {
        "seconds": statistics.median(seconds),
        "all_seconds": seconds,
        "plain_seconds": statistics.median(beside),
        "speedup": statistics.median(other / own for own, other in zip(seconds, beside, strict=True)),
        "calls": round(plain[0].calls / plain[0].steps * first.steps),
        "evaluated": first.evaluated,
        "full_ms": _median([ms for run in runs for ms in run.full_ms]),
        "forecast_ms": _median([ms for run in runs for ms in run.forecast_ms]),
        "peak_bytes": max((run.peak_bytes for run in runs if run.peak_bytes), default=None),
        "history_bytes": first.history_bytes,
    }
    if first.steps != steps:
        row["steps_run"] = first.steps
    return row


def _attempt(method: Method, schedule: Schedule, pipe: Any, arguments: dict[str, Any], counts: Counts) -> Run | str:
    """Make one call with the method; return the reason where there is none."""
    outcome = _outcome(method, schedule, pipe, arguments, counts)
    if torch.cuda.is_available():
        gc.collect()  # hooks of peers hold features in reference cycles
        if isinstance(outcome, str):
            torch.cuda.empty_cache()
    return outcome


def _outcome(method: Method, schedule: Schedule, pipe: Any, arguments: dict[str, Any], counts: Counts) -> Run | str:
    try:
        with method.on(pipe, schedule) as handle:
            run = timed_call(pipe, arguments, schedule.steps, counts)
            return replace(run, history_bytes=handle.statistics.history_bytes) if handle else run
    except NotSupported as error:
        return str(error)
    except torch.OutOfMemoryError:
        if method.kind == "plain":  # nothing could be compared with it
            raise
        return "out of memory"
    except Exception as error:
        if method.kind in OWN:
            raise
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"


def _estimate(run: Run, evaluated: int, conditions: Conditions) -> float:
    """Return the seconds for all steps, from a short run."""
    full, forecast = _median(list(run.full_ms)) or 0, _median(list(run.forecast_ms)) or 0
    return MARGIN * (evaluated * full + (conditions.steps - evaluated) * forecast) / 1e3


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
