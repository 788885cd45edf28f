"""The cases that use a calibration, for a model that has one."""

from functools import partial

import spectrum
from jobs.options import PROJECT
from tools.bench_quality import cases
from tools.bench_quality.cases import Case, attached, schedule


def calibrated_cases(name: str, steps: int) -> list[Case]:
    """Calibrated weights on the published schedules, and on searched ones; none without a calibration."""
    path = PROJECT / "docs" / "benchmarks" / f"calibration-{name}.json"
    if not path.exists():
        return []
    rule = spectrum.CalibratedRule(spectrum.Calibration.load(path))
    if steps not in rule.calibration.grams:
        return []
    found = []
    for count in cases.EVALUATIONS[steps]:
        config = schedule(steps, count)
        best = partial(rule.schedule, evaluations=count)
        found.append(Case("calibrated", str(count), steps, steps, attached(config, rule)))
        found.append(Case("searched", str(count), steps, steps, attached(config, rule, best)))
    return found
