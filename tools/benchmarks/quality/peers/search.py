"""Golden-Path and BudCache: schedules searched by what the final sample becomes, with the last output held."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations

import numpy as np

from tools.benchmarks.quality.peers.problem import Plan, Problem, hold

GOLDEN, BUDGET = "Golden-Path", "BudCache"
MOST_SCHEDULES = 20_000  # that are all tried; where there are more, annealing goes through so many
TRIALS = 24  # samplings of BudCache
Schedule = tuple[int, ...]
Score = Callable[[Schedule], float]  # an error, above 0


def golden_path(problem: Problem, evaluations: int) -> Plan:
    """Choose by the final latents' expected error: steps 0, 1, 2 and the last, and the best choice of others."""
    steps = problem.steps
    fixed = {0, 1, 2, steps - 1}
    free = [step for step in range(steps) if step not in fixed]
    score = partial(astray, problem)
    if math.comb(len(free), evaluations - len(fixed)) <= MOST_SCHEDULES:
        every = (tuple(sorted({*fixed, *some})) for some in combinations(free, evaluations - len(fixed)))
        best = min(every, key=score)
    else:
        best = anneal(uniform(steps, evaluations, fixed), steps, frozenset(fixed), score, MOST_SCHEDULES)
    return held(GOLDEN, best, steps)


def budcache(steps: int, evaluations: int, score: Score, trials: int) -> Plan:
    """Choose by real final outputs: annealing from the uniform schedule, then hill climbing, half of the trials each.

    Args:
        steps: Denoising steps.
        evaluations: How many are evaluated.
        score: Samples with a schedule.
        trials: How many schedules may be sampled.
    """
    best = anneal(uniform(steps, evaluations, {0}), steps, frozenset({0}), score, trials // 2)
    return held(BUDGET, climb(best, steps, score, trials - trials // 2), steps)


def held(name: str, evaluated: Schedule, steps: int) -> Plan:
    """Return the plan that repeats the last output."""
    return Plan.of(name, evaluated, steps, hold, "output")


def astray(problem: Problem, evaluated: Schedule) -> float:
    """Return the expected squared error of the final latents, were the evaluated outputs as recorded."""
    ends = (*evaluated, problem.steps)
    weights = problem.moves.copy()
    for step, end in zip(evaluated, ends[1:], strict=True):
        weights[step] -= problem.moves[step:end].sum()
    return float(weights @ problem.outputs @ weights)


def uniform(steps: int, evaluations: int, fixed: set[int]) -> Schedule:
    """Return the fixed steps and others, evenly spread among the rest."""
    free = [step for step in range(steps) if step not in fixed]
    count = evaluations - len(fixed)
    return tuple(sorted({*fixed, *(free[int((k + 0.5) * len(free) / count)] for k in range(count))}))


def anneal(start: Schedule, steps: int, fixed: frozenset[int], score: Score, trials: int) -> Schedule:
    """Move single evaluations at random, accepting worse schedules ever more rarely; return the best seen."""
    generator = np.random.default_rng(0)
    now = best = start
    cost = least = score(start)
    for trial in range(trials - 1):
        candidate = _moved(now, steps, fixed, generator)
        new = score(candidate)
        heat = 0.3 * (1 - trial / trials) ** 2  # of the logarithm of the cost
        if new < cost or generator.random() < (cost / new) ** (1 / heat):
            now, cost = candidate, new
        if new < least:
            best, least = candidate, new
    return best


def climb(start: Schedule, steps: int, score: Score, trials: int) -> Schedule:
    """Move single evaluations by one or two steps as long as that helps, for at most so many trials."""
    best, least = start, score(start)
    seen = {start}
    while True:
        for candidate in _neighbours(best, steps):
            if len(seen) > trials:
                return best
            if candidate in seen:
                continue
            seen.add(candidate)
            if (cost := score(candidate)) < least:
                best, least = candidate, cost
                break
        else:
            return best


def _moved(schedule: Schedule, steps: int, fixed: frozenset[int], generator: np.random.Generator) -> Schedule:
    gone = generator.choice([step for step in schedule if step not in fixed])
    new = generator.choice([step for step in range(steps) if step not in schedule])
    return tuple(sorted({*schedule, int(new)} - {int(gone)}))


def _neighbours(schedule: Schedule, steps: int) -> Iterator[Schedule]:
    for step in schedule[1:]:
        for move in (-1, 1, -2, 2):
            if 0 < step + move < steps and step + move not in schedule:
                yield tuple(sorted({*schedule, step + move} - {step}))
