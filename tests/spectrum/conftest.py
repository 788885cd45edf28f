"""Fixtures: the tiny pipelines, and one thread for what they compute."""

from collections.abc import Iterator

import pytest
import torch

from tests.spectrum.tiny import FAMILIES, Family


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread: tensors are so small that several threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    """Each family in turn."""
    return FAMILIES[request.param]


@pytest.fixture
def flux() -> Family:
    """The family that stands for all, where it makes no difference."""
    return FAMILIES["flux"]


@pytest.fixture
def sdxl() -> Family:
    """The family with a UNet."""
    return FAMILIES["sdxl"]
