"""Weights fitted to recorded features: least squares from nothing but the features' inner products.

A calibration holds, for each number of steps n, the Gram matrix G_ij = E <h_i, h_j> of the features of all
steps, averaged over trajectories in which every step was evaluated (`spectrum.recorder` makes it). For
evaluated steps e and a forecast step i the weights that make E |h_i - sum_k a_k h_k|^2 smallest are
G_ee^-1 G_ei. But forecasts lead a trajectory away from those that were recorded, by a difference that changes
slowly from step to step, and weights that suit the recorded features alone may do anything to it. So the
features are taken to be the recorded ones and a straight line in the step as large as they are, in a direction
nobody knows, and the weights are shrunk a little towards a_0, which extrapolates straight lines:

    a(i) = (S_ee + mu I)^-1 (S_ei + mu a_0(i)),  S_ij = G_ij + 1 + t_i t_j,  t from -1 to 1,  mean_i G_ii = 1

No torch here: a calibration is read, and a plan made from it, on the host.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from spectrum.errors import SpectrumError
from spectrum.schedule import real_number
from spectrum.search import ScheduleSearch
from spectrum.weights import ChebyshevRule

_FORMAT = 2  # 1: the weights from it were others
_LINE = ChebyshevRule(w=0, lam=1, m=0)  # extrapolates from the last two features


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was recorded of one model.

    Attributes:
        grams: For each number of steps n the Gram matrices of the guidance branches, float64 (branches, n, n),
            averaged over trajectories.
        source: What it was made from: model, revision, scheduler, prompts, guidance. For people and for the
            digest; json types only.
    """

    grams: Mapping[int, np.ndarray]
    source: Mapping[str, Any]

    def gram(self, num_steps: int) -> np.ndarray:
        """The Gram matrix of n steps, (n, n): the mean over branches, each scaled to a mean square of one.

        One set of weights serves all branches.

        Raises:
            SpectrumError: The calibration was made for other numbers of steps.
        """
        if num_steps not in self.grams:
            made_for = ", ".join(map(str, sorted(self.grams)))
            raise SpectrumError(
                f"The calibration is for {made_for} steps, not for {num_steps}: calibrate with that number too, or "
                "forecast without it."
            )
        branches = self.grams[num_steps]
        scales = np.trace(branches, axis1=1, axis2=2) / num_steps
        return (branches / scales[:, None, None]).mean(axis=0)

    @cached_property
    def digest(self) -> str:
        """A name for the content: 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """The content of a calibration file: about 25 kB for a branch of 50 steps."""
        return json.dumps({"sha256": self.digest, **self._content()}) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "The calibration") -> "Calibration":
        """Reads what `to_json` wrote.

        Raises:
            SpectrumError: It is something else, or was changed since.
        """
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise SpectrumError(f"{name} has format {content['format']}, not {_FORMAT}: calibrate again.")
            grams = {int(n): np.stack([_unfold(row, int(n)) for row in rows]) for n, rows in content["grams"].items()}
            calibration = cls(grams, content["source"])
            whole = calibration.digest == content["sha256"]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, SpectrumError):
                raise
            raise SpectrumError(f"{name} is no calibration file: make one with tools.calibrate.") from error
        if not whole:
            raise SpectrumError(f"{name} was cut or changed since it was written: calibrate again.")
        return calibration

    @classmethod
    def load(cls, path: Path | str) -> "Calibration":
        """Reads a calibration file.

        Raises:
            OSError: It cannot be read.
            SpectrumError: It is no calibration file, or was changed.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"), f"The calibration {path}")

    def _content(self) -> dict[str, Any]:
        grams = {str(n): [_fold(gram) for gram in branches] for n, branches in sorted(self.grams.items())}
        return {"format": _FORMAT, "source": dict(self.source), "grams": grams}


def _fold(gram: np.ndarray) -> list[float]:
    """The upper triangle, row by row; python writes floats so that they read back the same."""
    return gram[np.triu_indices(len(gram))].tolist()


def _unfold(triangle: list[float], n: int) -> np.ndarray:
    gram = np.zeros((n, n))
    gram[np.triu_indices(n)] = triangle
    return gram + np.triu(gram, 1).T


@dataclass(frozen=True)
class CalibratedRule:
    """A `ForecastRule` from a calibration.

    Attributes:
        calibration: What was recorded.
        shrinkage: mu above, more than 0. 1e-3 was measured to be the best for all evaluation counts together:
            docs/calibration.md.
    """

    calibration: Calibration
    shrinkage: float = 1e-3

    def __post_init__(self) -> None:
        if real_number("shrinkage", self.shrinkage, least=0) == 0:  # features that hardly differ have no one solution
            raise SpectrumError(f"shrinkage must be a number above 0, not {self.shrinkage!r}.")

    def weights(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> np.ndarray:
        """Returns a(step), float64 (K,)."""
        return self.weights_of_steps(evaluated_before, [step], num_steps)[0]

    def weights_of_steps(
        self, evaluated_before: Sequence[int], steps: Sequence[int] | np.ndarray, num_steps: int
    ) -> np.ndarray:
        """The same for S steps at once, float64 (S, K)."""
        before, after = np.asarray(evaluated_before), np.asarray(steps)
        time = np.linspace(-1, 1, num_steps)
        expected = self.calibration.gram(num_steps)[before] + 1 + np.outer(time[before], time)  # S_e, (K, n)
        line = _LINE.weights_of_steps(evaluated_before, after, num_steps)
        penalty = self.shrinkage * np.eye(len(before))
        return np.linalg.solve(expected[:, before] + penalty, expected[:, after] + self.shrinkage * line.T).T

    def schedule(self, num_steps: int, evaluations: int) -> tuple[int, ...]:
        """The best schedule found for a number of evaluations: `spectrum.search`.

        Raises:
            SpectrumError: The calibration has not that number of steps, or they are fewer than the evaluations.
        """
        return self._search(num_steps).best(evaluations)

    def expected_error(self, num_steps: int, evaluated: Sequence[int]) -> float:
        """What `schedule` makes small, of any schedule: the sum of the expected squared relative errors."""
        return self._search(num_steps).total(evaluated)

    def describe(self) -> str:
        """Names the rule, its numbers and the calibration."""
        return f"calibrated {self.calibration.digest} shrinkage={float(self.shrinkage)!r} lines"

    def _search(self, num_steps: int) -> ScheduleSearch:
        gram = self.calibration.gram(num_steps)
        return ScheduleSearch(gram, lambda evaluated, steps: self.weights_of_steps(evaluated, steps, num_steps))
