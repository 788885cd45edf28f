"""Fit Spectrum's forecasts to a model: ``python -m jobs.calibrate model=flux prompt_file=my.txt --steps 50 28``.

Options are those of jobs.generate. Every step of the first prompts is evaluated, and what forecasts need to know of the
features and of the outputs, some numbers for each pair of steps, goes into one small file for
``spectrum.CalibratedRule``. For the numbers of evaluations that will be used, schedules that are near in expected
error, and ways to fit the coefficients, are tried on the same prompts, and the best go into the file too. The prompts
should be such as will be used, not the very same as those that quality is then measured on.
"""

import argparse
import os
import sys
from pathlib import Path

from jobs.base.errors import BadInput, refuse
from jobs.calibrate.recording import calibrate
from jobs.options.compose import compose_options
from jobs.run.resolve import resolve
from jobs.store.atomic import write_bytes
from spectrum import CalibratedRule, Calibration, SpectrumConfig, SpectrumError

PROMPTS = 16  # more hardly change the matrices of the embedded model


def main(arguments: list[str] | None = None) -> int:
    """Record, choose, write the file and say what it is good for."""
    parser = argparse.ArgumentParser(prog="python -m jobs.calibrate", description=__doc__)
    parser.add_argument("options", nargs="*", help="options of jobs.generate, such as model=flux batch_size=1")
    parser.add_argument("--steps", type=int, nargs="+", help="numbers of steps to calibrate for; default: the model's")
    help_ = "numbers of evaluated steps to choose schedules for; default: as many as the published window makes"
    parser.add_argument("--evaluations", type=int, nargs="+", help=help_)
    parser.add_argument("--out", type=Path, help="default: calibration-MODEL.json")
    given = parser.parse_intermixed_args(arguments)
    try:
        run = resolve(compose_options([f"total_prompt_num={PROMPTS}", *given.options, "algo=nocache"]))
        if run.options.dry_run:
            raise BadInput("dry_run=true is for jobs.generate: leave it out")
        out = given.out or Path(f"calibration-{run.options.model.name}.json")
        check_place(out)
        calibration = calibrate(run, given.steps or [run.options.num_inference_steps], given.evaluations)
    except (BadInput, SpectrumError) as error:
        refuse(str(error))
    try:
        write_bytes(out, calibration.to_json().encode())
    except OSError as error:
        refuse(f"{out} cannot be written: {error.strerror}")
    for line in report(calibration):
        print(line)
    print(out)
    return 0


def check_place(out: Path) -> None:
    """Make sure, before hours go into a file, that one can be written there.

    Raises:
        BadInput: it is a folder, or there is none that can be written to.
    """
    if out.is_dir():
        raise BadInput(f"--out {out} is a folder: name a file in it, like {out / 'calibration.json'}")
    if not out.parent.is_dir():
        raise BadInput(f"--out {out} is in no folder that is there: make {out.parent} first")
    if not os.access(out.parent, os.W_OK):
        raise BadInput(f"--out {out} cannot be written: name a file in a folder that you may write to")


def report(calibration: Calibration) -> list[str]:
    """Return a line for each schedule that was chosen: what is expected of it, what it brought, and how sure it is."""
    rule, default = CalibratedRule(calibration), SpectrumConfig()
    lines = []
    for steps, counts in sorted(calibration.source["choice"].items(), key=lambda item: int(item[0])):
        window = default.evaluated_steps(int(steps))
        for count, choice in sorted(counts.items(), key=lambda item: int(item[0])):
            best, schedules = choice[0], {tuple(one["evaluated"]) for one in choice}
            error = rule.expected_error(int(steps), best["evaluated"])
            line = f"{steps} steps, {count} evaluated: expected squared error {error:.3g}"
            if len(window) == int(count):
                line += f" (of the published window {rule.expected_error(int(steps), window):.3g})"
            line += f" with {tuple(best['evaluated'])}"
            if best["of"]:  # a single sample has no halves
                line += f", which {best['halves']} of {best['of']} halves of the samples find"
            if best.get("compared"):
                of = f"the best of {len(schedules)} schedules, fitted" if len(schedules) > 1 else "fitted"
                samples = f"{best['compared']} sample" + "s" * (best["compared"] > 1)
                fits = len(choice) - len(schedules) + 1
                line += f"; {best['psnr']['mean']:.1f} dB on {samples}, {of} in the best of {fits} ways"
            lines.append(line)
    return lines


if __name__ == "__main__":
    sys.exit(main())
