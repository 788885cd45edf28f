"""One denoiser's pass of the sampler: where it stands on its plan, and the histories of each guidance branch."""

from dataclasses import dataclass, field, replace

import torch

from spectrum.errors import SpectrumError
from spectrum.history import History
from spectrum.step_plan import StepPlan

# More calls in a step than any guidance makes: the clock is not the pipeline's, and every call would get a history.
_MAX_BRANCHES = 8


@dataclass(frozen=True)
class Statistics:
    """What was done in a trajectory; that of denoisers that take turns is the sum of theirs.

    Attributes:
        num_steps: Steps planned.
        steps: Steps taken, fewer than planned if it was cut short.
        evaluated_steps: Steps taken in which no call was forecast.
        branches: Denoiser calls in a step, at most: 1, or 2 with guidance whose branches are called apart.
        evaluated_calls: Denoiser calls that ran whole, over all branches.
        forecast_calls: Denoiser calls that were forecast, over all branches.
        history_bytes: Memory allocated for histories, over all branches.
    """

    num_steps: int = 0
    steps: int = 0
    evaluated_steps: int = 0
    branches: int = 0
    evaluated_calls: int = 0
    forecast_calls: int = 0
    history_bytes: int = 0

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(
            num_steps=self.num_steps + other.num_steps,
            steps=self.steps + other.steps,
            evaluated_steps=self.evaluated_steps + other.evaluated_steps,
            branches=max(self.branches, other.branches),
            evaluated_calls=self.evaluated_calls + other.evaluated_calls,
            forecast_calls=self.forecast_calls + other.forecast_calls,
            history_bytes=self.history_bytes + other.history_bytes,
        )

    def beside(self, other: "Statistics") -> "Statistics":
        """Return the statistics of denoisers that take each step together, not in turns."""
        both = self + other
        return replace(
            both,
            num_steps=self.num_steps,
            steps=self.steps,
            evaluated_steps=self.evaluated_steps,
            branches=self.branches + other.branches,
        )


@dataclass
class _Branch:
    """A guidance branch.

    Attributes:
        input_shape: Shape of the latents in its last call.
        steady: They had that shape in all its calls.
        histories: One for each tensor that is forecast, from the first evaluation on.
    """

    input_shape: object
    steady: bool = True
    histories: dict[int, History] = field(default_factory=dict)


class Trajectory:
    """What tells each denoiser call whether to forecast, and hands features to and from the histories.

    Calls between two steps are the guidance branches 0, 1, ... in their order, each with its own histories. A
    branch that missed an evaluated step (guidance that pipelines switch on for part of a trajectory) has too
    few features for the plan's coefficients: all its calls run whole.

    Args:
        plan: The plan, made for the number of steps to come.
        storage_dtype: Dtype of the histories; None takes that of the features.
        storage_device: Device of the histories, "cpu"; None takes that of the features.
    """

    def __init__(
        self, plan: StepPlan, storage_dtype: torch.dtype | None = None, storage_device: str | None = None
    ) -> None:
        self.plan = plan
        self._storage_dtype = storage_dtype
        self._storage_device = storage_device
        self._step = 0
        self._branch = -1
        self._branches: list[_Branch] = []
        self._forecast_in_step = 0
        self._is_spared = False
        self._evaluated_steps = 0
        self._num_branches = 0
        self._evaluated_calls = 0
        self._forecast_calls = 0
        self._history_bytes = 0

    def begin_call(self, input_shape: object) -> bool:
        """Open the next denoiser call of this step.

        Args:
            input_shape: Shape of the latents; a forecast fits no other than those of the last evaluation.

        Returns:
            Whether the call is to be forecast.

        Raises:
            SpectrumError: They differ, or the step has more calls than guidance makes.
        """
        self._branch += 1
        if self._branch == _MAX_BRANCHES:
            raise SpectrumError(
                f"the denoiser was called {_MAX_BRANCHES + 1} times without a step of the pipeline's scheduler in "
                "between, so Spectrum cannot tell the steps: use this pipeline without it"
            )
        if self._branch == len(self._branches):
            self._branches.append(_Branch(input_shape))
            self._num_branches = max(self._num_branches, len(self._branches))
        branch = self._branches[self._branch]
        forecast = self._can_forecast(branch)
        if self._is_spared and not forecast:
            raise SpectrumError(
                f"the denoiser is called more often from step {self._step} on, where its ControlNet's blocks did not "
                "run: use guidance that begins part way without Spectrum"
            )
        if forecast and branch.input_shape != input_shape:
            raise SpectrumError(
                f"the denoiser's input went from {branch.input_shape} to {input_shape} at step {self._step}: keep "
                "batch and size the same within a trajectory or use it without Spectrum"
            )
        branch.steady &= branch.input_shape == input_shape
        branch.input_shape = input_shape
        self._forecast_in_step += forecast
        self._forecast_calls += forecast
        self._evaluated_calls += not forecast
        return forecast

    def spare_step(self) -> bool:
        """Return whether what is made for the blocks in the coming step has no use, as all its calls will be forecast.

        From a True on, the step takes no other calls.
        """
        self._is_spared = bool(self._branches) and all(map(self._can_forecast, self._branches))
        return self._is_spared

    def _can_forecast(self, branch: _Branch) -> bool:
        coefficients = self.plan.coefficients.get(self._step)
        return (
            coefficients is not None
            and bool(branch.histories)
            and all(history.filled == len(coefficients) for history in branch.histories.values())
        )

    @property
    def branch(self) -> int:
        """The number of the open call in its step, from 0."""
        return self._branch

    def record(self, feature: torch.Tensor, head: int = 0, branch: int | None = None) -> None:
        """Store what is forecast of a call that ran whole in this step, if a forecast will use it.

        Args:
            feature: Any shape and floating dtype.
            head: Which of its tensors: the place in the denoiser's `heads`, or in what it returns.
            branch: The number of the call; None for the open one.
        """
        row = self.plan.rows.get(self._step)
        if row is None:
            return
        histories = self._branches[self._branch if branch is None else branch].histories
        if head not in histories:
            histories[head] = History(len(self.plan.rows), self._storage_dtype, self._storage_device)
        history = histories[head]
        if row == history.filled:
            before = history.nbytes
            history.store(row, feature)
            self._history_bytes += history.nbytes - before

    def cut_to(self, tokens: int, head: int = 0) -> None:
        """Keep of a sequence (B, S, C) of the open call, in the steps so far, its last so many positions.

        Nothing is cut if the call's input got shorter too.
        """
        branch = self._branches[self._branch]
        if branch.steady and head in branch.histories:
            branch.histories[head].cut_to(tokens)

    def forecast(self, head: int = 0) -> torch.Tensor:
        """Return a tensor of the open call by its place, of the shape and dtype of what was recorded before."""
        return self._branches[self._branch].histories[head].forecast(self.plan.coefficients[self._step])

    def advance(self) -> None:
        """Close the step, if the denoiser was called in it.

        Pipelines with two denoisers step their scheduler for the other one too, and some (Cosmos) step it twice.
        """
        if self._branch == -1:
            return
        self._evaluated_steps += not self._forecast_in_step
        self._step += 1
        self._branch = -1
        self._forecast_in_step = 0
        self._is_spared = False

    @property
    def done(self) -> bool:
        """Whether all steps of the plan were taken."""
        return self._step == self.plan.num_steps

    def free(self) -> None:
        """Free the histories; the statistics stay."""
        self._branches.clear()

    @property
    def statistics(self) -> Statistics:
        """What was done so far."""
        return Statistics(
            num_steps=self.plan.num_steps,
            steps=self._step,
            evaluated_steps=self._evaluated_steps,
            branches=self._num_branches,
            evaluated_calls=self._evaluated_calls,
            forecast_calls=self._forecast_calls,
            history_bytes=self._history_bytes,
        )
