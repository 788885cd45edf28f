"""A threshold method of the kind of TeaCache and MagCache: evaluate when expected changes have added up to so much."""

import numpy as np

from tools.benchmarks.quality.peers.problem import Plan, Problem, hold

KEPT = 0.2  # share of the steps, the first, that are always evaluated (MagCache); half of the evaluations at most
NAME = "threshold"


def plan(problem: Problem, evaluations: int) -> Plan | None:
    """Find a threshold that gives the number of evaluations; None where none does."""
    changes = relative_changes(problem.outputs)
    first = min(round(KEPT * problem.steps), evaluations // 2)
    for threshold in np.geomspace(1e-4, 1e2, 20_000):
        evaluated = crossings(changes, float(threshold), first)
        if len(evaluated) == evaluations:
            return Plan.of(NAME, evaluated, problem.steps, hold, "output")
    return None


def relative_changes(gram: np.ndarray) -> np.ndarray:
    """Return the expected change from the step before, relative to it: (n,), zero at the first step."""
    size = gram.diagonal()
    squares = size[1:] + size[:-1] - 2 * gram.diagonal(1)
    return np.concatenate([[0.0], np.sqrt(np.maximum(squares, 0) / size[:-1])])


def crossings(changes: np.ndarray, threshold: float, first: int) -> tuple[int, ...]:
    """Return the first steps, then each at which the changes since the last evaluation exceed the threshold."""
    evaluated, since = [], 0.0
    for step, change in enumerate(changes):
        since += change
        if step < max(first, 1) or since > threshold:
            evaluated.append(step)
            since = 0.0
    return tuple(evaluated)
