"""HunyuanVideo without the padding of its texts: the same up to the order of sums, and no mask in its attention."""

from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.base.differences import differences
from jobs.base.errors import BadInput
from jobs.model import padding
from jobs.model.environment import environment
from jobs.model.kernels import check_padding
from jobs.model.load import load_pipeline
from jobs.model.padding import DENOISER, drop_padding
from spectrum import attach
from tests.parallel.ranks import CONFIG, EVALUATED, STEPS, hunyuan, hunyuan_arguments, run
from tests.support import resolved, write_prompts
from tests.tiny_pipelines import WIDTH, save

# A few of float32's last bits at latents of size 3 to 4, as where ranks take sums in another order.
TOLERANCE = 3e-6


def arguments(lengths: tuple[int, ...], guided: bool = False) -> dict[str, Any]:
    """What the pipeline is called with for texts of 8 tokens, so many of which are no padding."""
    return hunyuan_arguments(len(lengths), guided, lengths)


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Of each attention over the whole sequence: its length, and whether there was a mask."""
    seen: list[tuple[int, bool]] = []
    compute = torch.nn.functional.scaled_dot_product_attention

    def noting(query: torch.Tensor, *rest: Any, attn_mask: Any = None, **more: Any) -> torch.Tensor:
        if query.shape[2] > 8:
            seen.append((query.shape[2], attn_mask is not None))
        return compute(query, *rest, attn_mask=attn_mask, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noting)
    return seen


PICTURE = 2 * 4 * 4  # tokens


@pytest.mark.parametrize(
    ("lengths", "tokens", "masked"),
    [((5,), 5, False), ((8,), 8, False), ((3, 3), 3, False), ((5, 3), 5, True), ((0,), 1, True)],
)
def test_the_rest_computes_the_same(
    lengths: tuple[int, ...], tokens: int, masked: bool, masks: list[tuple[int, bool]]
) -> None:
    given = arguments(lengths)
    expected = run(hunyuan(), given, len(lengths))
    assert {*masks} == {(PICTURE + 8, True)}
    masks.clear()
    pipe = hunyuan()
    drop_padding(pipe.transformer)
    made = run(pipe, given, len(lengths))
    assert {*masks} == {(PICTURE + tokens, masked)}
    if sum(lengths):
        torch.testing.assert_close(made, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("target", ["features", "output"])
@pytest.mark.parametrize("lengths", [(5,), (5, 3)])
def test_forecasts_are_the_same_too(target: str, lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """With guidance, whose branches take turns; each one's mask is looked at once."""
    looks: list[int] = []
    cut = padding._cut_of
    monkeypatch.setattr(padding, "_cut_of", lambda mask, parts: (looks.append(parts), cut(mask, parts))[1])
    outputs = []
    for drops in (False, True):
        pipe, given = hunyuan(), arguments(lengths, guided=True)
        given["negative_prompt_attention_mask"] = given["prompt_attention_mask"].roll(1, 0).clone()
        if drops:
            drop_padding(pipe.transformer)
        with attach(pipe, CONFIG, target=target) as handle:
            outputs.append(run(pipe, given, len(lengths)))
            assert handle.statistics.forecast_calls == 2 * (STEPS - len(EVALUATED))
    torch.testing.assert_close(*outputs, rtol=0, atol=TOLERANCE)
    assert looks == [1, 1]


def test_what_is_not_padded_at_its_end_stays(masks: list[tuple[int, bool]]) -> None:
    given = arguments((5,))
    given["prompt_attention_mask"] = given["prompt_attention_mask"].flip(1)
    pipe = hunyuan()
    expected = run(pipe, given, 1)
    drop_padding(pipe.transformer)
    assert torch.equal(run(pipe, given, 1), expected) and {*masks} == {(PICTURE + 8, True)}


def test_it_is_refused_where_it_does_not_go() -> None:
    check_padding("none", [DENOISER])
    check_padding("none", [])  # nothing is downloaded yet
    with pytest.raises(BadInput, match=r"model.drop_padding=true is for HunyuanVideo .*, not for FluxTransformer2DM"):
        check_padding("none", ["FluxTransformer2DModel"])
    with pytest.raises(BadInput, match=r"for each of which model.compile=blocks would take minutes"):
        check_padding("blocks", [DENOISER])


def test_it_is_part_of_a_run(tmp_path: Path) -> None:
    """A run that was begun before there was the option is as one without it."""
    save("hunyuan", tmp_path / "hunyuan")
    prompts = write_prompts(tmp_path / "p.txt", 1)
    options = (
        *("model=hunyuan", f"model.path={tmp_path}/hunyuan", "model.dtype=float32", f"model.feature.channels={WIDTH}"),
        *(f"prompt_file={prompts}", "height=32", "width=32", "num_frames=5", "num_inference_steps=2", "algo=nocache"),
    )
    before, run = resolved(*options), resolved(*options, "model.drop_padding=true")
    assert "drop_padding" not in before.identity["model"]
    assert differences(before.identity, run.identity) == ["model.drop_padding was null, is true"]
    attention = environment(before.options, "cpu")["attention"]
    assert environment(run.options, "cpu")["attention"] == f"{attention} without padding"
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device="cpu")
    given: list[Any] = []
    pipeline.pipeline.transformer.transformer_blocks[0].attn.register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs["attention_mask"]), with_kwargs=True
    )
    pipeline(run.layout.batches(0)[0])
    assert given == [None, None]
