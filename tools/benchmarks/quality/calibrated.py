"""The cases that use a calibration, for a model that comes with one."""

from functools import partial
from pathlib import Path

import spectrum
from jobs.model.choose_forecast import own_calibration
from tools.benchmarks.quality import cases
from tools.benchmarks.quality.cases import Case, attached, schedule
from tools.benchmarks.quality.recorded import recording
from tools.benchmarks.quality.sampling import MODELS, plain_run


def rule_of(name: str, out: Path) -> spectrum.CalibratedRule:
    """Return the rule of an embedded model's own calibration, or of the recording where that does not fit."""
    if not MODELS[name].fits:
        return spectrum.CalibratedRule(recording(name, out))
    path = own_calibration(plain_run(name).options.model)
    assert path
    return spectrum.CalibratedRule(spectrum.Calibration.load(path))


def calibrated_cases(name: str, steps: int, out: Path) -> list[Case]:
    """Return cases of calibrated weights on published and on searched schedules; none for other numbers of steps."""
    rule = rule_of(name, out)
    if steps not in rule.calibration.grams:
        return []
    found = []
    for count in cases.EVALUATIONS[steps]:
        config = schedule(steps, count)
        best = partial(rule.schedule, evaluations=count)
        found.append(Case("calibrated", str(count), steps, steps, attached(config, rule)))
        found.append(Case("searched", str(count), steps, steps, attached(config, rule, best)))
    return found
