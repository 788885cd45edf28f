"""The re-implemented peers: what each minimises, on sequences whose best answers are known. Pure numbers."""

from itertools import combinations

import numpy as np
import pytest
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from spectrum import SpectrumConfig, StepPlan
from tools.benchmarks.quality.peers import dpcache, l2p, meancache, path, search, threshold
from tools.benchmarks.quality.peers.catalog import PEERS
from tools.benchmarks.quality.peers.problem import Plan, Problem, hold, taylor
from tools.benchmarks.quality.recorded import times

STEPS = 12


def sequences(degree: int | None = None) -> np.ndarray:
    """Return (samples, steps, size): polynomials of time with random coefficients, or smooth ones that are none."""
    generator, t = np.random.default_rng(0), np.linspace(1, 0, STEPS + 1)[:-1]
    powers = np.stack(
        [t**k for k in range(degree + 1)] if degree is not None else [t**0, np.exp(-4 * t), np.sin(5 * t)]
    )
    return np.einsum("skf,kn->snf", generator.standard_normal((6, len(powers), 8)), powers)


def problem(degree: int | None = None) -> Problem:
    walks = sequences(degree)
    gram = (walks @ walks.mT).mean(axis=0)
    return Problem(gram, gram, np.linspace(1, 0, STEPS + 1))


def mixing(plan: Plan, steps: int) -> np.ndarray:
    """M (n, n): M times the true sequence is the error of each forecast, zero where a step is evaluated."""
    found = np.zeros((steps, steps))
    for step, weights in plan.weights.items():
        found[step, step] = -1
        found[step, list(plan.evaluated[: len(weights)])] += weights
    return found


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.choose])
@pytest.mark.parametrize("count", [5, 7])
def test_every_peer_makes_a_plan_that_spectrum_takes(name: str, count: int) -> None:
    choose = PEERS[name].choose
    plan = choose(problem(), count) if choose else None
    assert plan is not None
    made = StepPlan.build(STEPS, SpectrumConfig(), plan, plan.evaluated)
    assert len(made.evaluated) == count and len(made.forecast) == STEPS - count
    for step, weights in made.coefficients.items():
        assert len(weights) == sum(known < step for known in made.evaluated)
        assert sum(weights) == pytest.approx(1, abs=0.15 if name == l2p.NAME else 1e-9), "a constant is not kept"


@pytest.mark.parametrize(("order", "degree"), [(0, 0), (1, 1)])
def test_taylor_is_exact_for_polynomials_of_its_order(order: int, degree: int) -> None:
    walks = sequences(degree)
    forecast = np.einsum("k,skf->sf", taylor([0, 1, 4], 6, order), walks[:, [0, 1, 4]])
    np.testing.assert_allclose(forecast, walks[:, 6], atol=1e-12)


def test_taylor_of_order_two_takes_differences_as_derivatives() -> None:
    f = np.array([1.0, 4.0, 11.0])  # at 0, 2 and 3
    slope, before = 7.0, 1.5
    assert taylor([0, 2, 3], 5) @ f == pytest.approx(11 + slope * 2 + (slope - before) / 1 * 2)
    assert taylor([0, 2], 3) @ f[:2] == pytest.approx(4 + 1.5)
    assert taylor([0], 3).tolist() == hold([0], 3).tolist() == [1.0]


def test_a_plan_mixes_true_sequences_into_its_errors() -> None:
    plan = Plan.of("held", (0, 3), 5, hold, "output")
    truth = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert (mixing(plan, 5) @ truth).tolist() == [0, 1 - 2, 1 - 4, 0, 8 - 16]


def test_the_shortest_path_is_that_of_all_schedules() -> None:
    """With costs of the last two evaluations and the next, against every schedule."""
    costs = np.random.default_rng(1).random((STEPS + 1,) * 3)

    def edges(last: tuple[int, ...]) -> np.ndarray:
        before, now = (last[-2] if len(last) > 1 else STEPS), last[-1]
        return costs[before, now, now + 1 :]

    def total(way: tuple[int, ...]) -> float:
        return sum(edges(way[: k + 1])[end - way[k] - 1] for k, end in enumerate((*way[1:], STEPS)))

    every = [(0, *rest) for rest in combinations(range(1, STEPS), 3)]
    assert path.shortest(STEPS, 4, edges) == min(every, key=total)


def test_l2p_learns_what_least_squares_gives() -> None:
    walks, before, step = sequences(), [0, 4, 8], 10
    gram = problem().features
    learnt = l2p.descend(gram[np.ix_(before, before)], gram[before, step], hold(before, step))
    best = np.linalg.lstsq(walks[:, before].transpose(0, 2, 1).reshape(-1, 3), walks[:, step].ravel(), rcond=None)[0]
    np.testing.assert_allclose(learnt, best, atol=1e-4)
    assert l2p.plan(problem(), 3).evaluated == (0, 4, 8)


def test_dpcache_spares_the_steps_that_taylor_forecasts() -> None:
    """Of a line every step from the third on is forecast exactly, so the first two evaluations are its best."""
    found = dpcache.plan(problem(1), 3)
    assert np.abs(mixing(found, STEPS) @ problem(1).features @ mixing(found, STEPS).T).max() < 1e-9
    assert found.evaluated[:2] == (0, 1)


def test_meancache_arrives_where_a_changing_velocity_leads() -> None:
    """The velocity changes at a constant rate, so between two evaluations the sample moves just as with all steps."""
    given = problem(1)
    plan = meancache.on(given, (0, 1, 5, 9))
    astray = given.moves @ mixing(plan, STEPS)
    assert abs(astray @ given.outputs @ astray) < 1e-12
    by_step = mixing(plan, STEPS)[2] @ given.outputs @ mixing(plan, STEPS)[2]
    assert by_step > 1e-4, "each step has the average, not its own velocity"


def test_golden_path_is_the_best_of_all() -> None:
    given = problem()
    found = search.golden_path(given, 6).evaluated
    assert {0, 1, 2, STEPS - 1} <= {*found}
    every = [tuple(sorted({0, 1, 2, 11, *some})) for some in combinations(range(3, 11), 2)]
    assert search.astray(given, found) == min(search.astray(given, one) for one in every)
    plan = search.held("", found, STEPS)
    astray = given.moves @ mixing(plan, STEPS)
    assert search.astray(given, found) == pytest.approx(astray @ given.outputs @ astray)


def test_annealing_and_climbing_find_the_best_of_a_score() -> None:
    wanted = (0, 2, 3, 7)
    tried: list[search.Schedule] = []

    def score(evaluated: search.Schedule) -> float:
        tried.append(evaluated)
        return 1 + sum(abs(one - other) for one, other in zip(evaluated, wanted, strict=True))

    assert search.budcache(STEPS, 4, score, 60).evaluated == wanted
    assert len(tried) <= 62 and all(one[0] == 0 and len({*one}) == 4 for one in tried)
    assert search.anneal(wanted, STEPS, frozenset({0}), score, 5) == wanted, "the best seen is kept"


def test_a_threshold_is_crossed_by_summed_changes() -> None:
    changes = np.array([0, 1, 1, 1, 2, 2, 2, 5.0])
    assert threshold.crossings(changes, 2.5, 0) == (0, 3, 5, 7)
    assert threshold.crossings(changes, 2.5, 3) == (0, 1, 2, 4, 6, 7)
    doubling = np.outer([1.0, 2, 4], [1.0, 2, 4])
    np.testing.assert_allclose(threshold.relative_changes(doubling), [0, 1, 1])
    assert threshold.plan(Problem(np.ones((9, 9)), np.ones((9, 9)), np.linspace(1, 0, 10)), 5) is None


def test_times_are_those_that_samplers_go_along() -> None:
    """An output of one moves the sample by the difference of two times, over its signal."""
    np.testing.assert_allclose(times(FlowMatchEulerDiscreteScheduler(), 4), [1, 0.75, 0.5, 0.25, 0])
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", timestep_spacing="trailing", clip_sample=False)
    ratios = times(scheduler, 5)
    other = times(DPMSolverMultistepScheduler.from_config(scheduler.config), 5)
    np.testing.assert_allclose(ratios, other, rtol=1e-4)
    assert (np.diff(ratios) < 0).all() and ratios[-1] == 0
