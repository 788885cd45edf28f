"""What encoders made is kept as it was, given out as copies, and forgotten in order."""

from typing import Any

import pytest
import torch

from jobs.model.embeddings import Embeddings


class Encoder:
    """A pipeline as far as texts go: embeddings that tell texts and arguments apart."""

    do_classifier_free_guidance = False

    def encode_prompt(self, prompt: list[str], scale: float = 1.0, **more: Any) -> tuple[Any, ...]:
        values = torch.tensor([[scale * len(text), float(self.do_classifier_free_guidance)] for text in prompt])
        return values.T, None, {"mask": torch.ones(len(prompt), 1).expand(-1, 3)}


@pytest.fixture
def pipeline() -> Encoder:
    return Encoder()


def test_what_is_given_out_is_the_callers_own_and_laid_out_alike(pipeline: Encoder) -> None:
    embeddings = Embeddings(pipeline)
    first = pipeline.encode_prompt(["a", "bb"])
    expected, strides = first[0].clone(), first[0].stride()
    first[0].zero_()
    for _ in range(2):
        again, nothing, rest = pipeline.encode_prompt(["a", "bb"])
        assert torch.equal(again, expected) and again.stride() == strides and nothing is None
        assert torch.equal(rest["mask"], torch.ones(2, 3))
        again.zero_()
    assert embeddings.encoded == 1


def test_whatever_may_change_the_result_is_told_apart(pipeline: Encoder) -> None:
    embeddings = Embeddings(pipeline)
    calls: list[dict[str, Any]] = [
        *({"prompt": ["a"]}, {"prompt": ["a", "a"]}, {"prompt": ["b"]}, {"prompt": ["a"], "scale": 2.0}),
        *({"prompt": ["a"], "scale": 1}, {"prompt": ["a"], "device": torch.device("cpu")}),
        {"prompt": ["a"], "template": {"text": "{}", "crop": 1}},
    ]
    for count, call in enumerate(calls, 1):
        pipeline.encode_prompt(**call)
        assert embeddings.encoded == count
    pipeline.do_classifier_free_guidance = True
    assert pipeline.encode_prompt(["a"])[0][1] == 1 and embeddings.encoded == len(calls) + 1


def test_what_cannot_be_compared_is_encoded_each_time(pipeline: Encoder) -> None:
    embeddings = Embeddings(pipeline)
    for _ in range(2):
        pipeline.encode_prompt(["a"], given=torch.zeros(1))
        pipeline.encode_prompt(["a"], generator=torch.Generator())
    assert embeddings.encoded == 4


def test_what_was_used_longest_ago_goes_first(pipeline: Encoder) -> None:
    one = sum(tensor.nbytes for tensor in (torch.zeros(2, 1), torch.zeros(1, 3)))
    embeddings = Embeddings(pipeline, most=2 * one)
    for text in "abac":  # a is used again before c takes the place of b
        pipeline.encode_prompt([text])
    assert embeddings.encoded == 3
    pipeline.encode_prompt(["a"])
    assert embeddings.encoded == 3
    pipeline.encode_prompt(["b"])
    assert embeddings.encoded == 4


def test_a_pipeline_that_encodes_otherwise_is_left_alone() -> None:
    assert Embeddings.of(object()) is None
