"""The training loop that all parts share: timed, resumable, with a rate schedule, averaged weights and a loss curve."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from tools.training import checkpoint

SAVE_EVERY_S = 120.0
LOG_EVERY = 20  # steps


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes, and whether an average of the weights is kept."""

    warmup_steps: int  # until the highest rate
    cooldown_share: float  # of the time budget, in which the rate falls linearly to zero
    average_decay: float | None = None  # of the exponential moving average; without it none is kept


def fit(
    path: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    draw_loss: Callable[[Generator], Tensor],
    minutes: float,
    schedule: Schedule,
    seed: int = 0,
) -> None:
    """Train for ``minutes`` of computing in all, over however many runs, keeping the state in ``path``.

    The loss curve goes to a CSV file beside ``path``.

    Args:
        path: The checkpoint, a ``.pt`` file; its "model" (and "average") are state dicts of ``model``.
        model: What is trained, in place.
        optimizers: Over parts of the model, with their highest learning rates.
        draw_loss: Makes a batch from the generator and returns its loss.
        minutes: Time budget.
        schedule: Of learning rates and averaging.
        seed: Of the generator that ``draw_loss`` receives.
    """
    generator = Generator().manual_seed(seed)
    average = copy.deepcopy(model).requires_grad_(False) if schedule.average_decay else None
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    step, spent, losses = 0, 0.0, []
    if state := checkpoint.load(path):
        model.load_state_dict(state["model"])
        if average is not None:
            average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        generator.set_state(state["generator"])
        step, spent = state["step"], state["spent"]

    def save() -> None:
        state: dict[str, Any] = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
        state |= {"generator": generator.get_state(), "step": step, "spent": spent}
        if average is not None:
            state["average"] = average.state_dict()
        checkpoint.save(path, state)

    last_save = spent
    while spent < minutes * 60:
        start = time.perf_counter()
        left = 1 - spent / (minutes * 60)
        scale = min(1.0, (step + 1) / schedule.warmup_steps, left / schedule.cooldown_share)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * scale
        loss = draw_loss(generator)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if average is not None and schedule.average_decay is not None:
            decay = min(schedule.average_decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        losses.append(loss.item())
        step, spent = step + 1, spent + time.perf_counter() - start
        if step % LOG_EVERY == 0:
            mean = sum(losses) / len(losses)
            checkpoint.append_row(path.with_suffix(".csv"), "step,seconds,loss,rate", step, spent, mean, scale)
            print(f"step {step}  {spent:.0f} s  loss {mean:.4f}  rate {scale:.2f}", flush=True)
            losses.clear()
        if spent - last_save > SAVE_EVERY_S:
            last_save = spent
            save()
    save()
