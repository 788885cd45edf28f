"""Weights fitted to recorded features: least squares from nothing but the features' inner products.

A calibration holds, for each number of steps n, the Gram matrix G_ij = E <h_i, h_j> of the features of all
steps, averaged over trajectories in which every step was evaluated (`spectrum.recorder` makes it). For
evaluated steps e and a forecast step i the weights that make E |h_i - sum_k a_k h_k|^2 smallest are
G_ee^-1 G_ei. A calibration has few trajectories, so they are shrunk towards the Chebyshev weights a_0:

    a(i) = (G_ee + mu I)^-1 (G_ei + mu a_0(i)),  mu = shrinkage * trace(G_ee) / K

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
from spectrum.search import Cost, ScheduleSearch, relative_error
from spectrum.weights import ChebyshevRule

_FORMAT = 1
_PRIOR = ChebyshevRule(w=0.5, lam=0.1, m=4)


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
        return json.dumps({"format": _FORMAT, "sha256": self.digest, **self._content()}) + "\n"

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
        return {"source": dict(self.source), "grams": grams}


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
        shrinkage: How much of the Chebyshev weights is in it, above 0; see above. Measured on the embedded model:
            1e-5 is up to 2 dB better than 1e-2 with 14 of 50 or 11 of 28 steps evaluated, and 1 dB worse with 10
            of 50 or 8 of 28.
        prior: Gives the Chebyshev weights.
    """

    calibration: Calibration
    shrinkage: float = 1e-5
    prior: ChebyshevRule = _PRIOR

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
        rows = self.calibration.gram(num_steps)[np.asarray(evaluated_before)]  # (K, n)
        within, across = rows[:, np.asarray(evaluated_before)], rows[:, np.asarray(steps)]  # (K, K), (K, S)
        mu = self.shrinkage * np.trace(within) / len(within)
        prior = self.prior.weights_of_steps(evaluated_before, steps, num_steps)
        return np.linalg.solve(within + mu * np.eye(len(within)), across + mu * prior.T).T

    def schedule(self, num_steps: int, evaluations: int, cost: Cost = relative_error) -> tuple[int, ...]:
        """The best schedule found for a number of evaluations: `spectrum.search`.

        Raises:
            SpectrumError: The calibration has not that number of steps, or they are fewer than the evaluations.
        """
        return self._search(num_steps, cost).best(evaluations)

    def expected_error(self, num_steps: int, evaluated: Sequence[int], cost: Cost = relative_error) -> float:
        """The cost that `schedule` makes small, of any schedule."""
        return self._search(num_steps, cost).total(evaluated)

    def describe(self) -> str:
        """Names the rule, its numbers and the calibration."""
        return f"calibrated {self.calibration.digest} shrinkage={float(self.shrinkage)!r} {self.prior.describe()}"

    def _search(self, num_steps: int, cost: Cost) -> ScheduleSearch:
        gram = self.calibration.gram(num_steps)
        return ScheduleSearch(gram, lambda evaluated, steps: self.weights_of_steps(evaluated, steps, num_steps), cost)
