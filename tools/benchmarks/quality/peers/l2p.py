"""L2P (arXiv 2604.26365): the weights of each step learnt by gradient descent, on a uniform schedule."""

from collections.abc import Sequence

import numpy as np

from tools.benchmarks.quality.peers.problem import Plan, Problem, hold

ITERATIONS = 20_000
NAME = "L2P"


def plan(problem: Problem, evaluations: int) -> Plan:
    """Learn the weights of the features."""
    steps = problem.steps
    evaluated = [steps * k // evaluations for k in range(evaluations)]
    gram = problem.features / np.trace(problem.features) * steps

    def learnt(before: Sequence[int], step: int) -> np.ndarray:
        return descend(gram[np.ix_(before, before)], gram[before, step], hold(before, step))

    return Plan.of(NAME, evaluated, steps, learnt, "features")


def descend(within: np.ndarray, towards: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Minimise a' W a - 2 a' t by gradient descent with momentum: the squared error of a forecast, over all samples.

    Args:
        within: W, inner products of the evaluated features (K, K).
        towards: t, theirs with the feature that is forecast (K,).
        start: Weights to begin with (K,).
    """
    rate = 1 / np.linalg.eigvalsh(within)[-1]
    weights, before = start.astype(np.float64), start.astype(np.float64)
    for count in range(ITERATIONS):
        ahead = weights + count / (count + 3) * (weights - before)
        before, weights = weights, ahead - rate * (within @ ahead - towards)
    return weights
