"""Fit Spectrum's weights to a model: ``python -m tools.calibrate model=flux prompt_file=my.txt --steps 50 28``.

Options are those of jobs.generate. Every step of the first prompts is evaluated, and what forecasts need to know of the
features, some numbers for each pair of steps, goes into one small file for ``spectrum.CalibratedRule``. The prompts
should be such as will be used, not the very same as those that quality is then measured on.
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from jobs.atomic import write_bytes
from jobs.errors import BadInput, refuse
from jobs.generate import explain
from jobs.models import load, versions
from jobs.options import PROJECT, Options, make_plan, read_options
from jobs.plan import Plan
from jobs.prepare import resolve_devices
from spectrum import CalibratedRule, Calibration, Recorder, SpectrumConfig, SpectrumError

PROMPTS = 16  # more hardly change the matrices of the embedded model


def main(arguments: list[str] | None = None) -> int:
    """Record, write the file and say what it is good for."""
    parser = argparse.ArgumentParser(prog="python -m tools.calibrate", description=__doc__)
    parser.add_argument("options", nargs="*", help="options of jobs.generate, such as model=flux batch_size=1")
    parser.add_argument("--steps", type=int, nargs="+", help="numbers of steps to calibrate for; default: the model's")
    parser.add_argument("--out", type=Path, help="default: calibration-MODEL.json")
    given = parser.parse_intermixed_args(arguments)
    try:
        with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
            options = read_options(compose("generate", [f"total_prompt_num={PROMPTS}", *given.options, "algo=nocache"]))
        calibration = calibrate(options, given.steps or [options.num_inference_steps])
    except (BadInput, SpectrumError) as error:
        refuse(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        refuse(explain(error))
    out = given.out or Path(f"calibration-{options.model['name']}.json")
    write_bytes(out, calibration.to_json().encode())
    for line in report(calibration):
        print(line)
    print(out)
    return 0


def calibrate(options: Options, steps: Iterable[int]) -> Calibration:
    """Make every prompt's sample once for each number of steps, recording.

    Raises:
        BadInput: The options are wrong, or the model is not there.
        SpectrumError: The pipeline is of a kind that cannot be calibrated.
    """
    options.weights.check()
    plan = make_plan(options)
    device = resolve_devices(options)[0][0]
    assert options.weights.folder  # or check would have raised
    generator = load(options.model, options.algo, options.weights.folder, device=device)
    with Recorder(generator.pipeline) as recorder:
        for count in steps:
            for batch in _batches(plan, count):
                generator(batch)
                print(f"{count} steps: sample {batch[-1].index + 1} of {plan.num_samples}", file=sys.stderr)
        return recorder.calibration(source_of(options, plan))


def source_of(options: Options, plan: Plan) -> dict[str, Any]:
    """What decides the features, for the file."""
    model = {name: options.model[name] for name in ("name", "path", "dtype", "scheduler", "scheduler_args", "call")}
    return {
        "model": {**model, "revision": options.weights.revision},
        "prompts": {"sha256": plan.table.sha256, "count": len(plan.table)},
        "settings": {name: value for name, value in plan.defaults.items() if name != "num_inference_steps"},
        "seed": options.seed,
        "versions": versions(options.makes_clips),
    }


def report(calibration: Calibration) -> list[str]:
    """For each number of steps, expected squared errors with the default schedule, and with the best of as many."""
    rule, default = CalibratedRule(calibration), SpectrumConfig()
    lines = []
    for count in sorted(calibration.grams):
        evaluated = default.evaluated_steps(count)
        found = rule.schedule(count, len(evaluated))
        before, after = (rule.expected_error(count, steps) for steps in (evaluated, found))
        lines.append(
            f"{count} steps, {len(evaluated)} evaluated: expected squared errors {before:.3g}, {after:.3g} with {found}"
        )
    return lines


def _batches(plan: Plan, count: int) -> Iterable[list]:
    """All batches of the plan at ``count`` steps, whatever the prompt file says."""
    for shard in range(plan.num_shards):
        for batch in plan.batches(shard):
            yield [replace(sample, num_inference_steps=count) for sample in batch]


if __name__ == "__main__":
    sys.exit(main())
