"""Which steps of a trajectory run the whole denoiser. Pure: no tensors, no model."""

import math

from spectrum.checks import real_number, whole_number


def evaluated_steps(
    num_steps: int, *, warmup_steps: int, window_size: float, flex_window: float, force_last: int = 0
) -> tuple[int, ...]:
    """List the steps that are evaluated; all others are forecast.

    The first `warmup_steps` steps are evaluated. From then on, with `window` starting at `window_size` and c
    the number of forecast steps since the last evaluation, step i is evaluated when (c + 1) mod floor(window)
    = 0, and each such evaluation widens the window: window <- round(window + flex_window, 3). The gaps
    therefore grow towards the end of the trajectory, where features change the least. (Han et al., arXiv
    2603.01623; this counter is the rule of the published implementation, the text of the paper gives
    another.)

    Args:
        num_steps: Steps in the trajectory, n; steps are numbered 0 ... n-1.
        warmup_steps: Steps evaluated at the start, at least 1. With n <= warmup_steps every step is
            evaluated.
        window_size: First window, at least 1: every floor(window_size)-th step is evaluated.
        flex_window: Growth of the window at each evaluation after the warm-up, at least 0.
        force_last: Number of final steps that are evaluated whatever the counter says; 0 is the published
            behaviour.

    Returns:
        The evaluated steps in ascending order; step 0 is always among them.

    Raises:
        SpectrumError: An argument is out of range.
    """
    num_steps = whole_number("num_steps", num_steps, least=1)
    warmup_steps = whole_number("warmup_steps", warmup_steps, least=1)
    force_last = whole_number("force_last", force_last, least=0)
    window = real_number("window_size", window_size, least=1)
    flex_window = real_number("flex_window", flex_window, least=0)

    evaluated = []
    forecast_since = 0
    for step in range(num_steps):
        if step < warmup_steps:
            evaluated.append(step)
        elif (forecast_since + 1) % math.floor(window) == 0:
            evaluated.append(step)
            forecast_since = 0
            # Rounded as published: without it, sums of 0.1 or 0.2 miss whole numbers and the schedule drifts.
            window = round(window + flex_window, 3)
        elif step >= num_steps - force_last:
            evaluated.append(step)
        else:
            forecast_since += 1
    return tuple(evaluated)
