"""What a run's own calibration brings: chooses its schedules and measures its forecasts, on samples of the run."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import spectrum
from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.execute.calibration_bench import Bench
from jobs.execute.calibration_choice import choose, chosen, summary, with_choice
from jobs.execute.calibration_parts import Parts
from jobs.model.forecast import Forecast
from jobs.run.calibration import Chosen
from jobs.store.atomic import create_bytes
from jobs.store.rundir import OUT_OF_REACH

COMPARED = 12  # recorded samples that schedules are compared on


class Measuring:
    """The measuring of one calibration.

    Args:
        forecast: how the run forecasts; it makes its own calibration.
        chosen: number of steps -> the samples that the calibration is made from, and those kept apart.
        trajectories: what was recorded of each of the former; none of a calibration that another run made.
        bench: makes samples.
        parts: has the samples with every step evaluated, and takes those with forecasts.
    """

    def __init__(
        self,
        forecast: Forecast,
        chosen: dict[int, Chosen],
        trajectories: list[spectrum.Calibration],
        bench: Bench,
        parts: Parts,
    ):
        assert forecast.automatic
        self._forecast, self._automatic, self._chosen = forecast, forecast.automatic, chosen
        self._trajectories, self._bench, self._parts = trajectories, bench, parts

    def measured(self, calibration: spectrum.Calibration) -> spectrum.Calibration:
        """Return the calibration with what its forecasts bring on the samples kept apart."""
        found = {}
        for steps in self._chosen:
            parts = calibration.source.get("parts", {}).get(str(steps), [steps])
            if not calibration.of(self._forecast.target).keys() >= {*parts}:
                continue
            if self._automatic.quality is not None:
                found[steps] = self._least(calibration, steps, self._automatic.quality)
            else:
                found[steps] = self._quality(calibration, steps, self._forecast.evaluations)
        best = {(steps, each["count"]): each["choice"][0] for steps, each in found.items() if each["choice"]}
        quality = {str(steps): measured for steps, measured in found.items()}
        return chosen(
            replace(calibration, source={**calibration.source, "quality": quality}), self._forecast.target, best
        )

    def _least(self, calibration: spectrum.Calibration, steps: int, quality: float) -> dict[str, Any]:
        """Return what the fewest evaluations bring that reach a quality; more are taken to bring no less."""

        def reached(count: int) -> dict[str, Any] | None:
            measured = self._quality(calibration, steps, count)
            if not measured["psnr"]:
                raise BadInput("algo.quality cannot be measured, because the samples kept apart for it failed")
            best.append(measured)
            return measured if measured["psnr"]["mean"] >= quality else None

        best: list[dict[str, Any]] = []
        most = max(steps - 1, 1)
        if not (enough := reached(most)):
            said = (
                f"algo.quality={quality:g} is out of reach: with {most} of {steps} steps evaluated the run's samples "
                f"have {best[0]['psnr']['mean']:.1f} dB: ask for less, or use algo=nocache"
            )
            create_bytes(self._parts.folder / f"{OUT_OF_REACH}{quality:g}", said.encode())  # for the next command
            raise BadInput(said)
        least = 1
        while least < enough["count"]:
            middle = (least + enough["count"]) // 2
            if measured := reached(middle):
                enough = measured
            else:
                least = middle + 1
        return {**enough, "asked": quality}

    def _quality(self, calibration: spectrum.Calibration, steps: int, count: int | None) -> dict[str, Any]:
        """Return what so many evaluations bring: PSNR in dB and SSIM to the same samples with all steps.

        Args:
            calibration: what was recorded.
            steps: of the samples.
            count: evaluated steps, where two denoisers share them of each; None: as many as the window makes.
        """
        asked = self._forecast.count(steps, count)
        rule = spectrum.CalibratedRule(calibration, target=self._forecast.target)
        choice = self._choose(rule, steps, asked)
        if choice:
            rule = with_choice(rule, steps, choice[0])
        held = self._chosen[steps].held
        each = self._forecasts(
            rule, steps, held, count, "measured", f"forecast with {asked} of {steps} steps evaluated"
        )
        said: dict[str, Any] = {
            "count": asked,
            "schedule": "searched" if self._forecast.searched else "window",
            "evaluated": each[0]["evaluated"] if each else asked,
            "samples": len(each),
            "choice": choice,
            **({"vae": pin} if (pin := self._bench.vae_pin) else {}),
        }
        return said | {name: summary([one[name] for one in each]) for name in ("psnr", "ssim")}

    def _choose(self, rule: spectrum.CalibratedRule, steps: int, count: int) -> list[dict[str, Any]]:
        """Compare schedules that the calibration cannot tell apart, and fits, on samples that it was made from.

        Returns:
            As ``choose``; nothing where there is nothing to go by: in a calibration of another run, or where two
            denoisers share the steps.
        """
        if not self._forecast.searched or not any(steps in one.of(rule.target) for one in self._trajectories):
            return []
        samples = self._chosen[steps].recorded[:COMPARED]

        def compare(tried: spectrum.CalibratedRule, kind: str, number: int, every: int) -> list[float]:
            said = f"forecast with {kind} {number + 1} of {every}, to choose one"
            each = self._forecasts(tried, steps, samples, count, f"{kind}-{number}", said)
            return [made["psnr"] for made in each]

        return choose(rule, self._trajectories, steps, count, compare)

    def _forecasts(
        self, rule: spectrum.CalibratedRule, steps: int, samples: list[Sample], count: int | None, kind: str, said: str
    ) -> list[dict[str, Any]]:
        """Make samples with forecasts; return what `Bench.compare` says of those that did not fail."""
        asked = self._forecast.count(steps, count)
        makers = {
            f"{kind}-{asked}-{part_name(steps, one)}": partial(
                self._bench.compare, one, rule, count, self._parts.folder / part_name(steps, one)
            )
            for one in samples
        }
        self._parts.make(makers, said)
        return [one for name in makers if (one := json.loads(self._parts.read(name)))]


def part_name(steps: int, sample: Sample) -> str:
    """Name the part of a sample with every step evaluated."""
    return f"{steps}-{sample.index}"
