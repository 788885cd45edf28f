"""Coefficients fitted to recorded features (or outputs): least squares from nothing but their inner products.

A calibration holds, for each number of steps n, the Gram matrix G_ij = E <h_i, h_j> of the features of all
steps, averaged over trajectories in which every step was evaluated (`spectrum.recorder` makes it). For
evaluated steps e and a forecast step i the coefficients that make E |h_i - sum_k a_k h_k|^2 smallest are
G_ee^-1 G_ei. But forecasts lead a trajectory away from those that were recorded, by a difference that changes
slowly from step to step, and coefficients that suit the recorded features alone may do anything to it. So the
features are taken to be the recorded ones and a straight line in the step as large as they are, in a direction
nobody knows, and the coefficients are shrunk a little towards a_0, which extrapolates straight lines:

    a(i) = (S_ee + mu I)^-1 (S_ei + mu a_0(i)),  S_ij = G_ij + 1 + t_i t_j,  t from -1 to 1,  mean_i G_ii = 1

No torch here: a calibration is read, and a plan made from it, on the host.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectrum.checks import positive_number
from spectrum.coefficients import ChebyshevRule
from spectrum.errors import SpectrumError
from spectrum.search import ScheduleSearch

_FORMAT = 2  # files of format 1 give other coefficients
_LINE = ChebyshevRule(w=0, lam=1, m=0)  # extrapolates from the last two features


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was recorded of one model.

    Attributes:
        grams: For each number of steps n the Gram matrices of the features of each head in each guidance
            branch, float64 (heads x branches, n, n), averaged over trajectories; empty if none were recorded.
        source: What it was made from: model, revision, scheduler, prompts, guidance. For people and for the
            digest; json types only.
        output_grams: The same of the tensors that the denoiser returns.
        schedules: Number of steps -> number of evaluations -> the evaluated steps, where they were chosen by real
            samples (`spectrum.candidates`); all other schedules are searched.
    """

    grams: Mapping[int, NDArray[np.float64]]
    source: Mapping[str, Any]
    output_grams: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    schedules: Mapping[int, Mapping[int, tuple[int, ...]]] = field(default_factory=dict)

    @classmethod
    def mean(cls, parts: Sequence["Calibration"], source: Mapping[str, Any]) -> "Calibration":
        """Return the mean of several, each of which counts alike, in the order given.

        Where they have different numbers of heads or branches at a number of steps (samples with and without
        guidance), the matrices of each are averaged first.

        Args:
            parts: What was recorded of the same model, such as of one trajectory each.
            source: What the mean is made from.
        """
        features, outputs = (_mean_of([part.of(target) for part in parts]) for target in ("features", "output"))
        return cls(features, source, outputs)

    def of(self, target: str) -> Mapping[int, NDArray[np.float64]]:
        """Return what was recorded of "features" or "output"."""
        return self.grams if target == "features" else self.output_grams

    def gram(self, num_steps: int, target: str = "features") -> np.ndarray:
        """Return the Gram matrix of n steps, (n, n): the mean of all, each scaled to a mean square of one.

        One set of coefficients serves all heads and branches.

        Args:
            num_steps: n.
            target: Of what: "features" or "output".

        Raises:
            SpectrumError: The calibration was made for other numbers of steps.
        """
        recorded = self.of(target)
        if num_steps not in recorded:
            made_for = ", ".join(map(str, sorted(recorded)))
            raise SpectrumError(
                f"the calibration is for {made_for} steps, not for {num_steps}: calibrate with that number too, or "
                "forecast without it"
            )
        grams = recorded[num_steps]
        scales = np.trace(grams, axis1=1, axis2=2) / num_steps
        mean: NDArray[np.float64] = (grams / scales[:, None, None]).mean(axis=0)
        return mean

    @cached_property
    def digest(self) -> str:
        """A name for the content: 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the content of a calibration file: about 25 kB for a matrix of 50 steps."""
        return json.dumps({"sha256": self.digest, **self._content()}) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "the calibration") -> "Calibration":
        """Read what `to_json` wrote.

        Args:
            text: The content of a file.
            name: What errors call it.

        Raises:
            SpectrumError: It is something else, or was changed since.
        """
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise SpectrumError(f"{name} has format {content['format']}, not {_FORMAT}: calibrate again")
            grams, outputs = (_unfold_all(content.get(name, {})) for name in ("grams", "output_grams"))
            chosen = {
                int(n): {int(count): tuple(steps) for count, steps in each.items()}
                for n, each in content.get("schedules", {}).items()
            }
            calibration = cls(grams, content["source"], outputs, chosen)
            whole = calibration.digest == content["sha256"]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, SpectrumError):
                raise
            raise SpectrumError(f"{name} is not a calibration file") from error
        if not whole:
            raise SpectrumError(f"{name} was cut or changed since it was written: calibrate again")
        return calibration

    @classmethod
    def load(cls, path: Path | str) -> "Calibration":
        """Read a calibration file.

        Raises:
            OSError: It cannot be read.
            SpectrumError: It is no calibration file, or was changed.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"), f"the calibration {path}")

    def _content(self) -> dict[str, Any]:
        content = {"format": _FORMAT, "source": dict(self.source), "grams": _fold_all(self.grams)}
        if self.output_grams:
            content["output_grams"] = _fold_all(self.output_grams)
        if self.schedules:
            content["schedules"] = {
                str(n): {str(count): [*steps] for count, steps in each.items()} for n, each in self.schedules.items()
            }
        return content


def _mean_of(recorded: Sequence[Mapping[int, NDArray[np.float64]]]) -> dict[int, NDArray[np.float64]]:
    means = {}
    for n in sorted({n for each in recorded for n in each}):
        grams = [each[n] for each in recorded if n in each]
        if len({gram.shape for gram in grams}) > 1:
            grams = [gram.mean(axis=0, keepdims=True) for gram in grams]
        means[n] = np.stack(grams).mean(axis=0)
    return means


def _fold_all(grams: Mapping[int, NDArray[np.float64]]) -> dict[str, list[list[float]]]:
    return {str(n): [_fold(gram) for gram in branches] for n, branches in sorted(grams.items())}


def _unfold_all(content: dict[str, list[list[float]]]) -> dict[int, NDArray[np.float64]]:
    return {int(n): np.stack([_unfold(row, int(n)) for row in rows]) for n, rows in content.items()}


def _fold(gram: NDArray[np.float64]) -> list[float]:
    """Return the upper triangle, row by row; python writes floats so that they read back the same."""
    return [float(product) for product in gram[np.triu_indices(len(gram))]]


def _unfold(triangle: list[float], n: int) -> NDArray[np.float64]:
    """Return the matrix of an upper triangle, (n, n)."""
    gram = np.zeros((n, n))
    gram[np.triu_indices(n)] = triangle
    full: NDArray[np.float64] = gram + np.triu(gram, 1).T
    return full


@dataclass(frozen=True)
class CalibratedRule:
    """A `ForecastRule` from a calibration.

    Attributes:
        calibration: What was recorded.
        shrinkage: mu above, more than 0. Of those measured, 1e-3 is the best for all evaluation counts together.
        target: What is forecast: "features" or "output". Schedules are those that suit the features in either case,
            if they were recorded: those that suit the outputs' matrix lead to worse samples.

    Raises:
        SpectrumError: `shrinkage` is out of range, or nothing was recorded of the target.
    """

    calibration: Calibration
    shrinkage: float = 1e-3
    target: str = "features"

    def __post_init__(self) -> None:
        positive_number("shrinkage", self.shrinkage)  # features that hardly differ have no one solution
        if not self.calibration.of(self.target):
            raise SpectrumError(f"the calibration has nothing of the target {self.target}: record it too")

    def coefficients(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> NDArray[np.float64]:
        """Return a(step), (K,), for the K steps in `evaluated_before`, ascending below `step`."""
        a: NDArray[np.float64] = self.coefficients_of_steps(evaluated_before, [step], num_steps)[0]
        return a

    def coefficients_of_steps(
        self, evaluated_before: Sequence[int], steps: Sequence[int] | NDArray[np.int_], num_steps: int
    ) -> NDArray[np.float64]:
        """Return the same for S steps at once, (S, K)."""
        before, after = np.asarray(evaluated_before), np.asarray(steps)
        time = np.linspace(-1, 1, num_steps)
        expected = (
            self.calibration.gram(num_steps, self.target)[before] + 1 + np.outer(time[before], time)
        )  # S_e, (K, n)
        line = _LINE.coefficients_of_steps(evaluated_before, after, num_steps)
        penalty = self.shrinkage * np.eye(len(before))
        a: NDArray[np.float64] = np.linalg.solve(
            expected[:, before] + penalty, expected[:, after] + self.shrinkage * line.T
        ).T
        return a

    def schedule(self, num_steps: int, evaluations: int) -> tuple[int, ...]:
        """Return the schedule chosen for a number of evaluations, else the best one found: `spectrum.search`.

        Raises:
            SpectrumError: The calibration has not that number of steps, or they are fewer than the evaluations.
        """
        chosen = self.calibration.schedules.get(num_steps, {}).get(evaluations)
        return chosen or self._search(num_steps).best(evaluations)

    def near(self, num_steps: int, evaluations: int, decibels: float) -> list[tuple[int, ...]]:
        """Return the best schedule found for each last evaluation whose expected error is near the least.

        Args:
            num_steps: n.
            evaluations: Evaluated steps.
            decibels: How much larger the expected error may be.

        Raises:
            SpectrumError: As `schedule`.
        """
        ends = self._search(num_steps).ends(evaluations)
        return [steps for cost, steps in ends if cost <= ends[0][0] * 10 ** (decibels / 10)]

    def expected_error(self, num_steps: int, evaluated: Sequence[int]) -> float:
        """Return what `schedule` makes small, of any schedule: the sum of the expected squared relative errors."""
        return self._search(num_steps).total(evaluated)

    def describe(self) -> str:
        """Name the rule, its numbers and the calibration."""
        of = "" if self.target == "features" else f" of the {self.target}"
        return f"calibrated {self.calibration.digest} shrinkage={float(self.shrinkage)!r} lines{of}"

    def _search(self, num_steps: int) -> ScheduleSearch:
        target = "features" if self.calibration.grams else self.target
        rule, gram = replace(self, target=target), self.calibration.gram(num_steps, target)
        return ScheduleSearch(gram, lambda evaluated, steps: rule.coefficients_of_steps(evaluated, steps, num_steps))
