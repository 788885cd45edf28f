"""A json's text fields hold whatever a library's configuration holds."""

import json
from collections.abc import Iterator
from typing import Any

import diffusers
import numpy as np
import pytest

from jobs.dataset.record import as_text


def schedulers() -> Iterator[Any]:
    """One of each class that needs no library or argument of its own."""
    for name in dir(diffusers):
        if name.endswith("Scheduler") and not name.startswith("Flax"):
            try:
                yield getattr(diffusers, name)()
            except (ImportError, TypeError, ValueError):
                continue


SCHEDULERS = {type(one).__name__: one for one in schedulers()}


def public(config: Any) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_schedulers_configuration_comes_back_from_its_text(name: str):
    text = as_text(public(SCHEDULERS[name].config))
    again = type(SCHEDULERS[name]).from_config(json.loads(text))
    assert as_text(public(again.config)) == text


def test_most_schedulers_are_tried():
    assert len(SCHEDULERS) > 40 and {"DPMSolverMultistepScheduler", "UniPCMultistepScheduler"} <= SCHEDULERS.keys()


def test_arrays_are_lists():
    assert json.loads(as_text({"betas": np.array([0.5, 1.0])})) == {"betas": [0.5, 1.0]}
