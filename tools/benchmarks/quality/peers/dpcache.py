"""DPCache (arXiv 2602.22654): schedules by dynamic programming over calibrated costs, Taylor forecasts of order 2."""

import numpy as np

from tools.benchmarks.quality.peers.path import shortest
from tools.benchmarks.quality.peers.problem import Plan, Problem, taylor

NAME = "DPCache"


def plan(problem: Problem, evaluations: int) -> Plan:
    """Choose the steps by the features' expected relative errors."""
    gram, steps = problem.features, problem.steps

    def edges(last: tuple[int, ...]) -> np.ndarray:
        errors = []
        for step in range(last[-1] + 1, steps):
            index = [step, *last]
            a = np.array([-1.0, *taylor(last, step)])
            errors.append(np.sqrt(max(a @ gram[np.ix_(index, index)] @ a, 0) / gram[step, step]))
        return np.concatenate([[0.0], np.cumsum(errors)])

    return Plan.of(NAME, shortest(steps, evaluations, edges), steps, taylor, "features")
