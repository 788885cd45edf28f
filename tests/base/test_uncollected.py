"""The garbage collector is off within, and afterwards as it was."""

import gc
from collections.abc import Iterator

import pytest

from jobs.base.uncollected import uncollected


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_it_is_off_within_and_leaves_alone_what_came() -> None:
    gc.unfreeze()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled(), "the inner one is not the one to end it"
    assert gc.isenabled() and gc.get_freeze_count() > 1000


def test_an_error_brings_it_back() -> None:
    with pytest.raises(ValueError, match="no"), uncollected():
        raise ValueError("no")
    assert gc.isenabled()


def test_who_has_none_keeps_none() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()
