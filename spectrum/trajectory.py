"""One pass of the sampler: where it stands on its plan, and one history per guidance branch."""

from dataclasses import dataclass

import torch

from spectrum.errors import SpectrumError
from spectrum.history import History
from spectrum.plan import Plan


@dataclass(frozen=True)
class Statistics:
    """What a trajectory did.

    Attributes:
        num_steps: Steps in its plan.
        steps: Steps taken, fewer than planned if it was cut short.
        branches: Denoiser calls in a step, at most: 1, or 2 with guidance whose branches are called apart.
        evaluated: Denoiser calls that ran whole, over all branches.
        forecast: Denoiser calls whose blocks did not run, over all branches.
        history_bytes: Memory allocated for features, over all branches.
    """

    num_steps: int = 0
    steps: int = 0
    branches: int = 0
    evaluated: int = 0
    forecast: int = 0
    history_bytes: int = 0


@dataclass
class _Branch:
    history: History
    input_shape: torch.Size


class Trajectory:
    """Tells each denoiser call whether to forecast, and hands features to and from the histories.

    Calls between two steps are the guidance branches 0, 1, ... in their order, each with its own history. A
    branch that missed an evaluated step (guidance that pipelines switch on for part of a trajectory) has too
    few features for the plan's weights: all its calls run whole.

    Args:
        plan: The plan, made for the number of steps to come.
        storage_dtype: Dtype of the histories; None takes that of the features.
    """

    def __init__(self, plan: Plan, storage_dtype: torch.dtype | None = None) -> None:
        self.plan = plan
        self._storage_dtype = storage_dtype
        self._step = 0
        self._branch = -1
        self._branches: list[_Branch] = []
        self._num_branches = 0
        self._evaluated = 0
        self._forecast = 0
        self._history_bytes = 0

    def begin_call(self, input_shape: torch.Size) -> bool:
        """Opens the next denoiser call of this step; True if it is to be forecast.

        Raises:
            SpectrumError: The input of this branch had another shape before.
        """
        self._branch += 1
        if self._branch == len(self._branches):
            self._branches.append(_Branch(History(len(self.plan.rows), self._storage_dtype), input_shape))
            self._num_branches = max(self._num_branches, len(self._branches))
        branch = self._branches[self._branch]
        if branch.input_shape != input_shape:
            raise SpectrumError(
                f"The denoiser's input went from {tuple(branch.input_shape)} to {tuple(input_shape)} at step "
                f"{self._step}; keep batch and size the same within a trajectory or use it without Spectrum."
            )
        weights = self.plan.weights.get(self._step)
        forecast = weights is not None and len(weights) == branch.history.filled
        self._forecast += forecast
        self._evaluated += not forecast
        return forecast

    def record(self, feature: torch.Tensor) -> None:
        """Stores the feature of the open call, which ran whole, if a forecast will use it."""
        row = self.plan.rows.get(self._step)
        history = self._branches[self._branch].history
        if row is not None and row == history.filled:
            before = history.nbytes
            history.store(row, feature)
            self._history_bytes += history.nbytes - before

    def forecast(self) -> torch.Tensor:
        """The feature of the open call, from those recorded before."""
        return self._branches[self._branch].history.forecast(self.plan.weights[self._step])

    def advance(self) -> None:
        """Closes the step."""
        self._step += 1
        self._branch = -1

    @property
    def done(self) -> bool:
        """Whether all steps of the plan were taken."""
        return self._step == self.plan.num_steps

    def free(self) -> None:
        """Frees the histories; the statistics stay."""
        self._branches.clear()

    @property
    def statistics(self) -> Statistics:
        """What was done so far."""
        return Statistics(
            num_steps=self.plan.num_steps,
            steps=self._step,
            branches=self._num_branches,
            evaluated=self._evaluated,
            forecast=self._forecast,
            history_bytes=self._history_bytes,
        )
