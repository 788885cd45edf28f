"""The peers by name: how each chooses, and what its re-implementation leaves out."""

from collections.abc import Callable
from dataclasses import dataclass

from tools.benchmarks.quality.peers import dpcache, l2p, meancache, search, threshold
from tools.benchmarks.quality.peers.problem import Plan, Problem

Choice = Callable[[Problem, int], Plan | None]  # (what was recorded, evaluations) -> what is done; None: it cannot


@dataclass(frozen=True)
class Peer:
    """One published method.

    Attributes:
        source: Where it was published.
        choose: Makes its plan from the recording; None for BudCache, which chooses by sampling.
        differs: What it does, and how this differs from what is published, for the page.
    """

    source: str
    choose: Choice | None
    differs: str


PEERS: dict[str, Peer] = {
    l2p.NAME: Peer(
        "arXiv 2604.26365",
        l2p.plan,
        "weights of each forecast step by gradient descent, on a uniform schedule. From 16 samples instead of 50, and "
        f"{l2p.ITERATIONS:,} steps of full batches, which inner products are enough for.",
    ),
    dpcache.NAME: Peer(
        "arXiv 2602.22654",
        dpcache.plan,
        "dynamic programming over expected errors of Taylor forecasts of order 2. Of the features that enter the head "
        "instead of every block's; the cost is the relative error, and knows the third evaluation back as well.",
    ),
    meancache.NAME: Peer(
        "arXiv 2601.19961",
        meancache.plan,
        "the average velocity until the next evaluation from the last two, on the shortest path over errors to the "
        f"power of {meancache.GAMMA:g}. Without a choice among several distances of the pair that gives the rate of "
        "change; the evaluated step itself keeps its own velocity.",
    ),
    search.GOLDEN: Peer(
        "Golden-Path-Hypothesis",
        search.golden_path,
        "steps 0, 1, 2 and the last, and those others whose final latents are expected to be the nearest; the last "
        f"output is held. All choices are tried where they are no more than {search.MOST_SCHEDULES:,}, annealing goes "
        "through so many where they are more. Scored on outputs as recorded instead of on new samples.",
    ),
    search.BUDGET: Peer(
        "arXiv 2606.13496",
        None,
        "annealing and then hill climbing on final outputs of 8 other sentences, the last output held. "
        f"{search.TRIALS} samplings a schedule; without its change of the noise levels.",
    ),
    threshold.NAME: Peer(
        "as TeaCache, MagCache",
        threshold.plan,
        "evaluates when the expected relative changes of outputs since the last evaluation exceed a threshold, and "
        "the first fifth of the steps (of half of the evaluations at most); the last output is held. The changes are "
        "the recorded ones, so all sentences have one schedule, and nothing is fitted to the timestep's embedding.",
    ),
}
