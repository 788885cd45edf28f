"""Dynamic programming over schedules: what DPCache and MeanCache search with."""

from collections.abc import Callable

import numpy as np

# (the last evaluated steps, at most three, up to s) -> cost of going on to each later step, or to the end: (n - s,)
Edges = Callable[[tuple[int, ...]], np.ndarray]


def shortest(steps: int, evaluations: int, edges: Edges) -> tuple[int, ...]:
    """Return the schedule of so many evaluations whose costs add to the least.

    A cost depends on the next evaluation and the two before it, so for each pair of last evaluations the cheapest way
    there is kept; a third one before is taken from that way.
    """
    ways: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {(0,): (0.0, (0,))}
    for left in range(evaluations - 1, 0, -1):
        longer: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {}
        for cost, way in ways.values():
            costs = cost + edges(way[-3:])
            for step in range(way[-1] + 1, steps - left + 1):
                found = (float(costs[step - way[-1] - 1]), (*way, step))
                state = found[1][-2:]
                longer[state] = min(longer.get(state, found), found)
        ways = longer
    return min((cost + float(edges(way[-3:])[-1]), way) for cost, way in ways.values())[1]
