"""The cases that use a calibration, for a model that comes with one."""

from functools import partial

import spectrum
from jobs.algo import own_calibration
from tools.bench_quality import cases
from tools.bench_quality.cases import Case, attached, schedule
from tools.bench_quality.sampling import options_of


def rule_of(name: str) -> spectrum.CalibratedRule:
    """The rule of an embedded model's own calibration."""
    path = own_calibration(options_of(name).model)
    assert path
    return spectrum.CalibratedRule(spectrum.Calibration.load(path))


def calibrated_cases(name: str, steps: int) -> list[Case]:
    """Calibrated weights on the published schedules, and on searched ones; none for other numbers of steps."""
    rule = rule_of(name)
    if steps not in rule.calibration.grams:
        return []
    found = []
    for count in cases.EVALUATIONS[steps]:
        config = schedule(steps, count)
        best = partial(rule.schedule, evaluations=count)
        found.append(Case("calibrated", str(count), steps, steps, attached(config, rule)))
        found.append(Case("searched", str(count), steps, steps, attached(config, rule, best)))
    return found
