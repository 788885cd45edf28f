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


class Part:
    """A text encoder as far as its place goes; where it is told not to move it does not."""

    def __init__(self, fixed: bool = False):
        self.places, self.fixed = ["cuda"], fixed

    def to(self, device: Any) -> None:
        if self.fixed:
            raise ValueError("quantised weights stay where they are")
        self.places.append(torch.device(device).type)


class Placed(Encoder):
    """A pipeline on a GPU, as far as it knows."""

    def __init__(self, part: Part, device: str = "cuda"):
        self.part, self._execution_device = part, torch.device(device)
        self.components = {"vae": None, "text_encoder": part, "text_encoder_2": None}
        self.latents = 0

    def encode_prompt(self, prompt: list[str], scale: float = 1.0, **more: Any) -> tuple[Any, ...]:
        if "bad" in prompt:
            raise ValueError("no")
        assert self.part.places[-1] == "cuda", "encoders are where they compute"
        return super().encode_prompt(prompt, scale, **more)

    def prepare_latents(self) -> None:
        self.latents += 1

    def __call__(self, prompt: list[str]) -> Any:
        embeddings = self.encode_prompt(prompt), self.encode_prompt([""], 2.0)
        self.prepare_latents()
        return embeddings


def test_encoders_that_were_released_come_back_for_each_text_or_once_for_a_shard() -> None:
    pipeline = Placed(Part())
    embeddings = Embeddings(pipeline)
    assert embeddings.release("cuda") and not embeddings.release("cuda")
    assert pipeline.part.places == ["cuda", "cpu"]
    pipeline(["a"])
    assert pipeline.part.places[2:] == ["cuda", "cpu"] * 2 and pipeline.latents == 1

    prompts = [["b"], ["bad"], ["c"], ["a"]]
    embeddings.ahead(lambda prompt=prompt: pipeline(prompt) for prompt in prompts)
    assert pipeline.part.places[6:] == ["cuda", "cpu"] and pipeline.latents == 1 and embeddings.encoded == 5
    for prompt in (["b"], ["c"], ["a"]):
        pipeline(prompt)
    assert embeddings.encoded == 5 and len(pipeline.part.places) == 8 and pipeline.latents == 4


def test_ahead_is_encoded_what_there_is_room_for() -> None:
    pipeline = Placed(Part())
    one = sum(tensor.nbytes for tensor in (torch.zeros(2, 1), torch.zeros(1, 3)))
    embeddings = Embeddings(pipeline, most=3 * one)
    embeddings.ahead(lambda text=text: pipeline([text]) for text in "abcd")
    assert embeddings.encoded == 3  # a, b, and the one that all share


@pytest.mark.parametrize("pipeline", [Placed(Part(), device="cpu"), Placed(Part(fixed=True))])
def test_encoders_stay_where_the_pipeline_would_follow_them_or_they_cannot_move(pipeline: Placed) -> None:
    assert not Embeddings(pipeline).release("cuda")
    assert pipeline.part.places[-1] == "cuda"


def test_on_a_cpu_there_is_nowhere_to_go(pipeline: Encoder) -> None:
    assert not Embeddings(pipeline).release("cpu")
