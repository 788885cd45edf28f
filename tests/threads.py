"""One thread for tests that run networks in their own process."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, whatever machine and environment say: tiny operations on several take ten times as long.

    A ``conftest.py`` that imports this fixture has it around every module of its folder.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
