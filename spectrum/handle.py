"""Attach Spectrum to a diffusers pipeline and take it off again.

The scheduler is the clock (`clock`), and each denoiser has a follower that forecasts (`targets`); the handle
joins them: at the first denoiser call of a trajectory it deals out the plans. Only instances are patched.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from spectrum.clock import Clock
from spectrum.coefficients import ForecastRule
from spectrum.denoisers import BESIDE, denoisers_of, steps_by_denoiser
from spectrum.errors import SpectrumError
from spectrum.follower import Follower, check_cache, check_module
from spectrum.loop import Loop
from spectrum.schedulers import check_timesteps
from spectrum.step_plan import SpectrumConfig, StepPlan
from spectrum.targets import is_attached, target_named
from spectrum.trajectory import Statistics, Trajectory

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def attach(
    pipe: "DiffusionPipeline",
    config: SpectrumConfig | None = None,
    *,
    rule: ForecastRule | None = None,
    schedule: Callable[[int], Sequence[int]] | None = None,
    target: str = "features",
) -> "Handle":
    """Make a pipeline forecast, until the handle is detached.

    Usable as `with attach(pipe, config): ...`. The pipeline is called as ever, with any number of steps,
    batch or size. A trajectory that starts part way down the schedule (img2img) gets a plan for the steps it
    will take, if the scheduler says where it begins (`begin_index`); otherwise it follows the first part of
    the plan for all of them. Where two denoisers share a trajectory (Wan2.2), each has a plan of its own, with
    its own warm-up, for the steps that are its part.

    Args:
        pipe: A pipeline with a `transformer` (and `transformer_2`) or `unet`; for features, one that is in
            `spectrum.denoisers.DENOISERS` and not compiled as a whole.
        config: The options; None takes the defaults.
        rule: Gives the coefficients of a forecast; None takes the Chebyshev rule with the numbers in `config`.
        schedule: Gives the evaluated steps of a number of steps; None takes those that `config` says.
        target: What is forecast: "features", which enter the denoiser's head, whose last layers then run; or
            "output", what the denoiser returns, without calling it.

    Raises:
        SpectrumError: Pipeline, denoiser or scheduler are of a kind that Spectrum cannot work with, or one of
            them is attached already. Nothing was changed then.
    """
    return Handle(pipe, config or SpectrumConfig(), rule, schedule, target)


class Handle:
    """Spectrum on one pipeline; made by `attach`."""

    def __init__(
        self,
        pipe: "DiffusionPipeline",
        config: SpectrumConfig,
        rule: ForecastRule | None,
        schedule: Callable[[int], Sequence[int]] | None,
        target: str,
    ) -> None:
        self._pipe: Any = pipe
        self._config = config
        self._rule = rule
        self._schedule = schedule
        self._plans: dict[int, StepPlan] = {}
        self._starting = False  # set_timesteps was called, no denoiser yet

        chosen, denoisers = target_named(target), denoisers_of(pipe)
        for name, denoiser in denoisers.items():
            check_module(name, denoiser)
            if is_attached(denoiser):
                raise SpectrumError(
                    "Spectrum is already attached to this denoiser, or records it: detach or close that first"
                )
            check_cache(denoiser)
            chosen.follower.check(name, denoiser)
        self._clock = Clock(self._pipe.scheduler, self._after_set_timesteps, self._after_step)
        self._followers = {
            name: chosen.follower(denoiser, self._before_denoiser) for name, denoiser in denoisers.items()
        }
        self._spared = chosen.spare(pipe, self._spare_step)
        self._loop = Loop(pipe, self._end)

    def plan_for(self, num_steps: int) -> StepPlan:
        """Return the plan of a denoiser that takes `num_steps` steps.

        Raises:
            SpectrumError: Rule or schedule have none for that number.
        """
        if num_steps not in self._plans:
            evaluated = self._schedule(num_steps) if self._schedule else None
            self._plans[num_steps] = StepPlan.build(num_steps, self._config, self._rule, evaluated)
        return self._plans[num_steps]

    @property
    def statistics(self) -> Statistics:
        """What the last (or current) trajectory did, over all denoisers; all zero before the first."""
        parts = self.statistics_by_denoiser
        beside = parts.pop(BESIDE, Statistics())
        return sum(parts.values(), Statistics()).beside(beside)

    @property
    def statistics_by_denoiser(self) -> dict[str, Statistics]:
        """The same for each denoiser, by its name in the pipeline."""
        return {name: follower.statistics for name, follower in self._followers.items()}

    @property
    def plans_by_denoiser(self) -> dict[str, StepPlan]:
        """The plan that each denoiser followed in the last (or current) trajectory; those that had a part in it."""
        plans = {name: follower.plan for name, follower in self._followers.items()}
        return {name: plan for name, plan in plans.items() if plan}

    def detach(self) -> None:
        """Leave the pipeline as `attach` found it and free all histories. Calling it again does nothing."""
        for follower in self._followers.values():
            follower.remove()
        for spared in self._spared:
            spared.remove()
        self._clock.stop()
        self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def _after_set_timesteps(self) -> None:
        self._end()  # of a trajectory that was interrupted, where the loop did not tell
        for follower in self._followers.values():
            check_cache(follower.denoiser)
            follower.check_still()
        denoisers = denoisers_of(self._pipe)
        if {name: follower.denoiser for name, follower in self._followers.items()} != denoisers:
            raise SpectrumError("the pipeline's denoiser was replaced after attach: detach and attach again")
        check_timesteps(self._clock.scheduler)
        self._starting = True

    def _end(self) -> None:
        # A call that others make of the denoiser, with a scheduler of their own, would be taken for the next step.
        self._starting = False
        for follower in self._followers.values():
            follower.end()

    def _before_denoiser(self) -> None:
        if self._pipe.scheduler is not self._clock.scheduler:
            raise SpectrumError("the pipeline's scheduler was replaced after attach: detach and attach again")
        if self._starting:
            # Only now, not at set_timesteps: in between, img2img pipelines say where on the schedule they begin.
            self._starting = False
            for name, num_steps in self._steps_by_denoiser().items():
                self._begin(self._followers[name], num_steps)

    def _spare_step(self) -> bool:
        return all(follower.spare_step() for follower in self._followers.values())

    def _after_step(self) -> None:
        for follower in self._followers.values():
            follower.end_step()

    def _begin(self, follower: Follower, num_steps: int) -> None:
        follower.forget()
        if num_steps:
            follower.begin(Trajectory(self.plan_for(num_steps), follower.storage_dtype, self._config.history_device))

    def _steps_by_denoiser(self) -> dict[str, int]:
        return steps_by_denoiser(self._pipe, self._followers, self._clock.timesteps)
