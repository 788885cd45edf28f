"""What was recorded of a model, and the file that holds it.

A calibration holds, for each number of steps n, the Gram matrix G_ij = E <h_i, h_j> of the features of all
steps, averaged over trajectories in which every step was evaluated (`spectrum.recorder` makes it), and the same
of the denoiser's outputs. `spectrum.calibrated_rule` makes coefficients of it.

No torch here: a calibration is read on the host.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectrum.errors import SpectrumError

_FORMAT = 2  # files of format 1 give other coefficients


class Fit(NamedTuple):
    """How coefficients are fitted to what was recorded (`spectrum.calibrated_rule`).

    Attributes:
        shrinkage: How much they are shrunk, more than 0.
        order: Towards what: 1 extrapolates a line through the last two features, 2 a parabola through three.
    """

    shrinkage: float = 1e-3
    order: int = 1


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
        fits: Target -> number of steps -> number of evaluations -> how its coefficients are fitted on that schedule,
            where that was chosen by real samples too; all others are fitted as `Fit` does where nothing is said.
    """

    grams: Mapping[int, NDArray[np.float64]]
    source: Mapping[str, Any]
    output_grams: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    schedules: Mapping[int, Mapping[int, tuple[int, ...]]] = field(default_factory=dict)
    fits: Mapping[str, Mapping[int, Mapping[int, Fit]]] = field(default_factory=dict)

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
            fits = {
                target: {
                    int(n): {int(count): Fit(*fit) for count, fit in each.items()} for n, each in of_target.items()
                }
                for target, of_target in content.get("fits", {}).items()
            }
            calibration = cls(grams, content["source"], outputs, chosen, fits)
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
        if self.fits:
            content["fits"] = {
                target: {str(n): {str(count): [*fit] for count, fit in each.items()} for n, each in of_target.items()}
                for target, of_target in self.fits.items()
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
