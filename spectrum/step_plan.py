"""The step plan of a trajectory: all that can be known before its first step."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from spectrum.coefficients import ChebyshevRule, ForecastRule, SuitableRule
from spectrum.errors import SpectrumError
from spectrum.schedule import evaluated_steps

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SpectrumConfig:
    """The options of the method, checked when made.

    Attributes:
        w: Share of the Chebyshev forecast in the mix with the linear one, from 0 to 1. (Published default: 1.)
        lam: Ridge penalty of the Chebyshev fit, above 0.
        m: Degree of the Chebyshev fit.
        horizon: H of the time map tau(i) = 2 i / H - 1; None takes the number of steps.
        warmup_steps: Steps evaluated at the start.
        window_size: First window: every floor(window_size)-th step after the warm-up is evaluated.
        flex_window: Growth of the window at each evaluation after the warm-up.
        force_last: Number of final steps that are always evaluated.
        history_device: Where features are kept: "cpu", for histories that do not fit on the accelerator, or
            None for where they are computed. Forecasts are the same.

    Raises:
        SpectrumError: An option is out of range.
    """

    w: float = 0.5
    lam: float = 0.1
    m: int = 4
    horizon: int | None = None
    warmup_steps: int = 5
    window_size: float = 2
    flex_window: float = 0.75
    force_last: int = 0
    history_device: str | None = None

    def __post_init__(self) -> None:
        # The limits live where the options are used.
        self.rule()
        self.evaluated_steps(1)
        if self.history_device not in (None, "cpu"):
            raise SpectrumError(
                f"must be 'cpu', or None for the device of the features, not {self.history_device!r}",
                option="history_device",
            )

    def rule(self) -> ChebyshevRule:
        """Return the rule for coefficients that these options stand for."""
        return ChebyshevRule(w=self.w, lam=self.lam, m=self.m, horizon=self.horizon)

    def evaluated_steps(self, num_steps: int) -> tuple[int, ...]:
        """Return the evaluated steps of a trajectory of `num_steps` steps, ascending from 0.

        Raises:
            SpectrumError: `num_steps` is below 1.
        """
        return evaluated_steps(
            num_steps,
            warmup_steps=self.warmup_steps,
            window_size=self.window_size,
            flex_window=self.flex_window,
            force_last=self.force_last,
        )


@dataclass(frozen=True)
class StepPlan:
    """What happens at each step of a trajectory of n steps.

    It depends on n, the options and the rule, never on data: every process and every rank makes the same
    plan.

    Attributes:
        num_steps: n.
        evaluated: The evaluated steps, ascending.
        rule_description: Names the rule that gave the coefficients, with its numbers.
        coefficients: For each forecast step, the coefficients of the features of all evaluated steps before it,
            in float64.
    """

    num_steps: int
    evaluated: tuple[int, ...]
    rule_description: str
    coefficients: dict[int, tuple[float, ...]] = field(repr=False)

    @classmethod
    def build(
        cls,
        num_steps: int,
        config: SpectrumConfig,
        rule: ForecastRule | None = None,
        evaluated: Sequence[int] | None = None,
    ) -> "StepPlan":
        """Make the plan.

        Args:
            num_steps: Steps in the trajectory, at least 1.
            config: The options.
            rule: Gives the coefficients; None takes the Chebyshev rule with the numbers in `config`.
            evaluated: The steps to evaluate; None takes those that `config` says.

        Raises:
            SpectrumError: `num_steps` is below 1, or `evaluated` does not ascend from 0 to below it.
        """
        rule = config.rule() if rule is None else rule
        evaluated = config.evaluated_steps(num_steps) if evaluated is None else tuple(evaluated)
        if evaluated[:1] != (0,) or sorted({*evaluated}) != [*evaluated] or evaluated[-1] >= num_steps:
            raise SpectrumError(f"the evaluated steps must ascend from 0 to below {num_steps}, not be {evaluated}")
        if isinstance(rule, SuitableRule):
            rule = rule.suited_to(num_steps, evaluated)
        coefficients: dict[int, tuple[float, ...]] = {}
        before: list[int] = []
        for step in range(num_steps):
            if step in evaluated:
                before.append(step)
            else:
                coefficients[step] = tuple(rule.coefficients(before, step, num_steps).tolist())
        return cls(num_steps, evaluated, rule.describe(), coefficients)

    @property
    def forecast(self) -> tuple[int, ...]:
        """The forecast steps, ascending."""
        return tuple(self.coefficients)

    @cached_property
    def rows(self) -> dict[int, int]:
        """The history row of each evaluated step whose feature a later forecast uses.

        An evaluation after the last forecast is in no row: nobody asks for its feature.
        """
        last_forecast = max(self.coefficients, default=0)
        return {step: row for row, step in enumerate(self.evaluated) if step < last_forecast}

    def history_bytes(self, feature_numel: int, dtype: "torch.dtype") -> int:
        """Return the bytes of one history: `feature_numel` elements a feature, stored in `dtype`.

        A trajectory has a history for each head in each guidance branch.
        """
        return len(self.rows) * feature_numel * dtype.itemsize

    def digest(self) -> str:
        """Return a name for the plan that is the same on every machine: 64 hexadecimal digits.

        It covers what the coefficients are computed from, not the coefficients, whose last bits depend on the
        processor.
        """
        content = {"num_steps": self.num_steps, "evaluated": self.evaluated, "rule": self.rule_description}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
