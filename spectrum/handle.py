"""Attaches Spectrum to a diffusers pipeline and takes it off again.

The scheduler is the clock: `set_timesteps` starts a trajectory, each `step` ends a denoising step. On a
forecast step the denoiser runs its own forward with its block stacks empty, and a hook on the final norm
replaces what enters it. Only instances are patched: the scheduler's two methods, and hooks on the denoiser
and its final norm. Hooks rather than a replaced `forward`, because accelerate's offloading replaces and
restores `forward` at every pipeline call.
"""

import functools
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from spectrum.denoisers import empty_stacks, spec_of
from spectrum.errors import SpectrumError
from spectrum.plan import Plan, SpectrumConfig
from spectrum.trajectory import Statistics, Trajectory
from spectrum.weights import ForecastRule

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_CLOCK = ("set_timesteps", "step")


def attach(
    pipe: "DiffusionPipeline", config: SpectrumConfig | None = None, *, rule: ForecastRule | None = None
) -> "Handle":
    """Makes a pipeline forecast, until the handle is detached.

    Usable as `with attach(pipe, config): ...`. The pipeline is called as ever, with any number of steps,
    batch or size. A trajectory that starts part way down the schedule (img2img) gets a plan for the steps it
    will take, if the scheduler says where it begins (`begin_index`); otherwise it follows the first part of
    the plan for all of them.

    Args:
        pipe: A pipeline whose `transformer` or `unet` is in `spectrum.denoisers.DENOISERS`.
        config: The options; None takes the defaults.
        rule: Gives the weights of a forecast; None takes the Chebyshev rule with the numbers in `config`.

    Raises:
        SpectrumError: Pipeline, denoiser or scheduler are of a kind that Spectrum cannot work with, or one of
            them is attached already. Nothing was changed then.
    """
    return Handle(pipe, config or SpectrumConfig(), rule)


class Handle:
    """Spectrum on one pipeline; made by `attach`."""

    def __init__(self, pipe: "DiffusionPipeline", config: SpectrumConfig, rule: ForecastRule | None) -> None:
        self._pipe: Any = pipe
        self._config = config
        self._rule = rule
        self._scheduler = self._pipe.scheduler
        self._denoiser: Any = _denoiser_of(pipe)
        self._spec = spec_of(self._denoiser)
        self._check_denoiser()
        self._check_unattached()

        self._plans: dict[int, Plan] = {}
        self._starting = False  # set_timesteps was called, the denoiser not yet
        self._trajectory: Trajectory | None = None  # the one under way
        self._latest: Trajectory | None = None  # the same, kept for its statistics
        self._forecasting = False  # the stacks are empty
        self._empty = empty_stacks(self._denoiser, self._spec)
        self._full: dict[str, nn.Module | None] = {}

        head = getattr(self._denoiser, self._spec.head)
        self._hooks = [
            self._denoiser.register_forward_pre_hook(self._before_denoiser, with_kwargs=True),
            self._denoiser.register_forward_hook(self._after_denoiser, always_call=True),
            head.register_forward_pre_hook(self._before_head),
        ]
        for name, tick in zip(_CLOCK, (self._after_set_timesteps, self._after_step), strict=True):
            self._patch_scheduler(name, tick)

    def plan_for(self, num_steps: int) -> Plan:
        """The plan of a trajectory of `num_steps` steps."""
        if num_steps not in self._plans:
            self._plans[num_steps] = Plan.build(num_steps, self._config, self._rule)
        return self._plans[num_steps]

    @property
    def statistics(self) -> Statistics:
        """What the last (or current) trajectory did; all zero before the first."""
        return self._latest.statistics if self._latest else Statistics()

    def detach(self) -> None:
        """Leaves the pipeline as `attach` found it and frees all features. Calling it again does nothing."""
        self._fill_stacks()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for name in _CLOCK:
            # What someone else put over ours stays; without the hooks our part in it has no effect.
            if _handle_behind(vars(self._scheduler).get(name)) is self:
                delattr(self._scheduler, name)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    # The clock

    def _patch_scheduler(self, name: str, tick: Callable[[], None]) -> None:
        original = getattr(type(self._scheduler), name)

        # Pipelines look at the signature of both methods: `wraps` keeps it.
        @functools.wraps(original)
        def ticking(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(scheduler, *args, **kwargs)
            if scheduler is self._scheduler:
                tick()
            return result

        ticking.spectrum_handle = self  # type: ignore[attr-defined]
        # A bound method, not a closure over the scheduler, so that a deepcopy of the scheduler steps itself.
        setattr(self._scheduler, name, types.MethodType(ticking, self._scheduler))

    def _after_set_timesteps(self) -> None:
        self._end()  # of a trajectory that was interrupted
        self._starting = False
        self._check_denoiser()
        if _denoiser_of(self._pipe) is not self._denoiser:
            raise SpectrumError("The pipeline's denoiser was replaced after attach: detach and attach again.")
        given = getattr(self._scheduler, "num_inference_steps", None)
        if given is not None and given != len(self._scheduler.timesteps):
            raise SpectrumError(
                f"{type(self._scheduler).__name__} makes {len(self._scheduler.timesteps)} calls for {given} "
                "steps; use a scheduler with one denoiser call a step instead."
            )
        self._starting = True

    def _after_step(self) -> None:
        if self._trajectory:
            self._trajectory.advance()
            if self._trajectory.done:
                self._end()  # now, so that the VAE has the memory

    def _start(self) -> None:
        # Only now, not at set_timesteps: in between, img2img pipelines say where on the schedule they begin.
        begin = getattr(self._scheduler, "begin_index", None) or 0
        plan = self.plan_for(len(self._scheduler.timesteps) - begin)
        self._trajectory = Trajectory(plan, self._denoiser.dtype if self._spec.head_upcasts else None)
        self._latest = self._trajectory
        self._starting = False

    def _end(self) -> None:
        if self._trajectory:
            self._trajectory.free()
            self._trajectory = None

    # The denoiser

    def _before_denoiser(self, denoiser: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        # Full already, unless the last call ended in what always_call leaves out: KeyboardInterrupt, SystemExit.
        self._fill_stacks()
        if self._pipe.scheduler is not self._scheduler:
            raise SpectrumError("The pipeline's scheduler was replaced after attach: detach and attach again.")
        if self._starting:
            self._start()
        if self._trajectory is None:
            return None
        latents = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
        if not self._trajectory.begin_call(latents.shape):
            return None
        self._empty_stacks()
        return args, {name: value for name, value in kwargs.items() if name not in self._spec.stack_inputs}

    def _before_head(self, head: nn.Module, args: tuple) -> tuple | None:
        if self._trajectory is None:
            return None
        if self._forecasting:
            return self._trajectory.forecast(), *args[1:]
        self._trajectory.record(args[0])
        return None

    def _after_denoiser(self, denoiser: nn.Module, args: tuple, output: object) -> None:
        self._fill_stacks()

    def _empty_stacks(self) -> None:
        self._full = {name: getattr(self._denoiser, name) for name in self._empty}
        for name, empty in self._empty.items():
            setattr(self._denoiser, name, empty)
        self._forecasting = True

    def _fill_stacks(self) -> None:
        if self._forecasting:
            for name, full in self._full.items():
                setattr(self._denoiser, name, full)
            self._forecasting = False

    # What Spectrum cannot work with

    def _check_denoiser(self) -> None:
        """Refuses what would run the blocks behind our back; checked again at each start."""
        name = type(self._denoiser).__name__
        if getattr(self._denoiser, "is_cache_enabled", False):
            raise SpectrumError(f"A diffusers cache is enabled on the {name}; call its disable_cache() first.")
        if self._denoiser._compiled_call_impl is not None:
            raise SpectrumError(
                f"The {name} is compiled as a whole, stacks included; use compile_repeated_blocks() instead."
            )

    def _check_unattached(self) -> None:
        hooks = self._denoiser._forward_pre_hooks.values()
        if any(isinstance(getattr(hook, "__self__", None), Handle) for hook in hooks):
            raise SpectrumError("Spectrum is already attached to this denoiser; detach that handle first.")
        if any(name in vars(self._scheduler) for name in _CLOCK):
            raise SpectrumError(
                "The scheduler's set_timesteps or step is already replaced on the instance, by Spectrum on "
                "another pipeline or by something else; give this pipeline its own scheduler."
            )
        if self._scheduler.order != 1:
            raise SpectrumError(
                f"{type(self._scheduler).__name__} calls the denoiser {self._scheduler.order} times a step; "
                "use a scheduler of order 1 instead."
            )


def _denoiser_of(pipe: Any) -> nn.Module:
    if getattr(pipe, "transformer_2", None) is not None:
        raise SpectrumError(
            f"{type(pipe).__name__} has a second denoiser, transformer_2; use a model that has one, such as Wan2.1."
        )
    for name in ("transformer", "unet"):
        denoiser = getattr(pipe, name, None)
        if denoiser is not None:
            if hasattr(denoiser, "_orig_mod"):
                raise SpectrumError(
                    f"The pipeline's {name} is compiled as a whole; use compile_repeated_blocks() instead."
                )
            return denoiser
    raise SpectrumError(f"{type(pipe).__name__} has no transformer or unet for Spectrum to attach to.")


def _handle_behind(method: object) -> object:
    return getattr(method, "spectrum_handle", None)
