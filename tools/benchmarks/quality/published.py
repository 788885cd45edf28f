"""The cases of published methods that are re-implemented here, of ours with outputs, and of other samplers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import diffusers

import spectrum
from tools.benchmarks.quality import cases, metrics
from tools.benchmarks.quality.calibrated import rule_of
from tools.benchmarks.quality.cases import Case
from tools.benchmarks.quality.peers import meancache, search
from tools.benchmarks.quality.peers.catalog import PEERS
from tools.benchmarks.quality.peers.problem import Plan
from tools.benchmarks.quality.recorded import problem, recording
from tools.benchmarks.quality.sampling import MODELS, Subject, others, sample, subject

OUTPUTS = "searched, outputs"  # ours with the other target
MIXED = "MeanCache on searched"  # its forecasts on our schedule
SCORED = 8  # sentences that BudCache scores a schedule on
SAMPLERS = {"DPM-Solver++": "DPMSolverMultistepScheduler", "UniPC": "UniPCMultistepScheduler"}


class NoSuchPlan(Exception):
    """A method has no schedule of that many evaluations."""


def published_cases(name: str, steps: int, out: Path) -> list[Case]:
    """Return the cases of a model. Whatever they need is recorded, or searched, when they are switched on."""
    found = []
    for count in cases.EVALUATIONS[steps]:
        setting = str(count)
        found.append(Case(OUTPUTS, setting, steps, steps, partial(_ours, name, steps, count, out)))
        found.append(Case(MIXED, setting, steps, steps, partial(_meancache_on_ours, name, steps, count, out)))
        for peer in PEERS:
            found.append(Case(peer, setting, steps, steps, partial(_peer, peer, name, steps, count, out)))
        for sampler, scheduler in SAMPLERS.items():
            if scheduler != MODELS[name].sampler:
                found.append(Case(f"fewer steps, {sampler}", setting, steps, count, partial(_sampled, scheduler)))
    return found


def _rule(name: str, steps: int, target: str, out: Path) -> spectrum.CalibratedRule:
    """Return the rule of the calibration that a model comes with, or of the recording where that does not serve."""
    own = rule_of(name, out).calibration
    return spectrum.CalibratedRule(own if steps in own.of(target) else recording(name, out), target=target)


def _ours(name: str, steps: int, count: int, out: Path, pipe: Any) -> AbstractContextManager[Any]:
    rule = _rule(name, steps, "output", out)
    best = partial(rule.schedule, evaluations=count)
    return spectrum.attach(pipe, spectrum.SpectrumConfig(), rule=rule, schedule=best, target="output")


def _meancache_on_ours(name: str, steps: int, count: int, out: Path, pipe: Any) -> AbstractContextManager[Any]:
    evaluated = _rule(name, steps, "features", out).schedule(steps, count)
    return following(pipe, meancache.on(problem(name, steps, out), evaluated, MIXED))


def _peer(peer: str, name: str, steps: int, count: int, out: Path, pipe: Any) -> AbstractContextManager[Any]:
    choose = PEERS[peer].choose
    plan = choose(problem(name, steps, out), count) if choose else _searched_by_sampling(name, steps, count)
    if plan is None:
        raise NoSuchPlan(f"{peer} evaluates no {count} of {steps} steps")
    return following(pipe, plan)


def following(pipe: Any, plan: Plan) -> AbstractContextManager[Any]:
    """Attach a peer's plan."""
    config = spectrum.SpectrumConfig()
    return spectrum.attach(pipe, config, rule=plan, schedule=lambda _: plan.evaluated, target=plan.target)


def _searched_by_sampling(name: str, steps: int, count: int) -> Plan:
    one: Subject = others(subject(name, 64), SCORED)
    reference, _ = sample(one, None, steps)

    def score(evaluated: search.Schedule) -> float:
        switch = partial(following, plan=search.held(search.BUDGET, evaluated, steps))
        made, _ = sample(one, Case("", "", steps, steps, switch), steps)
        return float(10 ** (-metrics.psnr(made, reference).mean() / 10))

    return search.budcache(steps, count, score, search.TRIALS)


@contextmanager
def _sampled(scheduler: str, pipe: Any) -> Iterator[None]:
    """Sample with another sampler along the same noise levels."""
    before = pipe.scheduler
    config = dict(before.config)
    if isinstance(before, diffusers.FlowMatchEulerDiscreteScheduler):
        # Flux's pipeline works out a shift and gives it to every scheduler; these take only the exponential of one.
        assert before.config.shift == 1 and not before.config.use_dynamic_shifting
        config |= {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "use_dynamic_shifting": True}
        config |= {"base_shift": 0.0, "max_shift": 0.0}
    pipe.scheduler = getattr(diffusers, scheduler).from_config(config)
    try:
        yield
    finally:
        pipe.scheduler = before
