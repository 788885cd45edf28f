"""Which sample is to blame when a batch fails; the generator is a stand-in that fails as told."""

from pathlib import Path

import numpy as np
import pytest

from jobs.plan import Sample
from jobs.worker import generate_batch
from tests.jobs.support import new_run, picture, write_prompts


class StandIn:
    """Draws a picture that tells sample and batch size apart; ``fails(batch, call)`` returns an exception or None."""

    def __init__(self, fails):
        self.fails, self.calls = fails, 0

    def __call__(self, batch: list[Sample]) -> list[np.ndarray]:
        self.calls += 1
        if error := self.fails([sample.index for sample in batch], self.calls):
            raise error
        return [picture(sample.index * 10 + len(batch)) for sample in batch]


@pytest.fixture
def batch(tmp_path: Path) -> list[Sample]:
    prompts = write_prompts(tmp_path / "prompts.txt", 4)
    return new_run(tmp_path, f"prompt_file={prompts}", "batch_size=4").plan.batches(0)[0]


def drawn(results: dict, size: int) -> set[int]:
    """Samples whose picture came from a call of ``size`` samples."""
    return {i for i, x in results.items() if isinstance(x, np.ndarray) and np.array_equal(x, picture(i * 10 + size))}


def test_a_whole_batch_is_one_call(batch) -> None:
    generator = StandIn(lambda indices, call: None)
    assert drawn(generate_batch(generator, batch), 4) == {0, 1, 2, 3}
    assert generator.calls == 1


def test_one_bad_sample_is_found_and_the_others_are_kept(batch) -> None:
    results = generate_batch(StandIn(lambda indices, call: ValueError("no") if 2 in indices else None), batch)
    assert results[2] == "ValueError: no"
    assert drawn(results, 1) == {0, 1, 3}


def test_a_passing_failure_leaves_the_bytes_of_an_undisturbed_batch(batch) -> None:
    results = generate_batch(StandIn(lambda indices, call: OSError("hiccup") if call == 1 else None), batch)
    assert drawn(results, 4) == {0, 1, 2, 3}


def test_what_fails_only_together_says_so(batch) -> None:
    results = generate_batch(StandIn(lambda indices, call: MemoryError("full") if len(indices) > 1 else None), batch)
    assert set(results) == {0, 1, 2, 3}
    assert all("lower batch_size" in reason and "full" in reason for reason in results.values())


def test_a_broken_accelerator_is_nobodys_fault(batch) -> None:
    generator = StandIn(lambda indices, call: RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="accelerator failed"):
        generate_batch(generator, batch)
    assert generator.calls == 1
