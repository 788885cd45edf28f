"""MeanCache (arXiv 2601.19961): forecasts of the average velocity, on a shortest path over powers of their errors."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from tools.benchmarks.quality.peers.path import shortest
from tools.benchmarks.quality.peers.problem import Plan, Problem

GAMMA = 4.0  # the paper's best: large errors count the most
NAME = "MeanCache"


def plan(problem: Problem, evaluations: int) -> Plan:
    """Choose the steps by how far the forecasts lead the sample astray until the next evaluation."""
    gram, steps, times, moves = problem.outputs, problem.steps, problem.times, problem.moves

    def edges(last: tuple[int, ...]) -> np.ndarray:
        (*_, now), costs = last, [0.0]
        for end in range(now + 2, steps + 1):
            index = [*range(now + 1, end), *last]
            astray = np.array([*moves[now + 1 : end], *(-moves[now + 1 : end].sum() * average(times, last, end))])
            costs.append(max(astray @ gram[np.ix_(index, index)] @ astray, 0.0) ** (GAMMA / 2))
        return np.array(costs)

    return on(problem, shortest(steps, evaluations, edges))


def on(problem: Problem, evaluated: Sequence[int], name: str = NAME) -> Plan:
    """Return the forecasts on any schedule."""
    ends = [*evaluated, problem.steps]

    def weights(before: Sequence[int], step: int) -> np.ndarray:
        return average(problem.times, before, ends[bisect_right(ends, step)])

    return Plan.of(name, evaluated, problem.steps, weights, "output")


def average(times: np.ndarray, evaluated: Sequence[int], end: int) -> np.ndarray:
    """Return the weights of the average velocity from the step after the last evaluation to the step ``end``.

    The velocity is taken to change on at the rate between the last two evaluations (the paper's surrogate of a
    Jacobian-vector product). The average is that of the steps' own velocities, which all-steps sampling goes by, rather
    than of a continuous flow.
    """
    weights = np.eye(len(evaluated))[-1]
    if len(evaluated) > 1:
        now, before = evaluated[-1], evaluated[-2]
        middle = np.average(times[now + 1 : end], weights=-np.diff(times[now + 1 : end + 1]))
        reach = (middle - times[now]) / (times[now] - times[before])
        weights[-1], weights[-2] = 1 + reach, -reach
    return weights
