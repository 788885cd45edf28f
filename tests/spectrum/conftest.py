"""Fixtures: the tiny pipelines."""

import pytest

from tests.spectrum.tiny import FAMILIES, Family


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
