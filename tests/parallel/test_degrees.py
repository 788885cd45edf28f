"""Which models and sizes the ranks can share: pure arithmetic, and the real configs of tiny pipelines."""

import pytest

from jobs.base.errors import BadInput
from jobs.options.degrees import Degrees
from jobs.options.schema import Options
from jobs.parallel.limits import Size, check_divides, check_shareable
from jobs.run.read_options import read_options
from tests.support import config
from tests.tiny_pipelines import PIPELINES, save

PUBLISHED = [  # sizes of the model cards, and degrees of one node and of two that share them
    ("wan14b", Size(480, 832, 81), (2, 4, 8)),
    ("wan14b", Size(720, 1280, 81), (2, 4, 8, 16)),
    ("hunyuan", Size(544, 960, 129), (2, 3, 4, 6)),
    ("hunyuan", Size(720, 1280, 129), (2, 4, 8, 16)),
    ("flux", Size(1024, 1024, 1), (2, 4, 8, 16)),
]


def options(*overrides: str) -> Options:
    return read_options(config(*overrides))


@pytest.mark.parametrize(("name", "size", "degrees"), PUBLISHED)
def test_the_published_sizes_can_be_shared(name: str, size: Size, degrees: tuple[int, ...]):
    model = options(f"model={name}").model
    for degree in degrees:
        check_divides(size, model, Degrees(ulysses=degree))


def test_a_size_that_cannot_be_shared_names_sizes_that_can():
    model = options("model=hunyuan").model
    with pytest.raises(BadInput) as refused:
        check_divides(Size(544, 960, 65), model, Degrees(ulysses=4, ring=4))  # 17 x 34 x 60 tokens
    offered = [part.split(", ") for part in str(refused.value).partition("such as ")[2].split(" or ")]
    assert len(offered) == 2
    for names in offered:
        size = Size(**{name: int(value) for name, value in (item.split("=") for item in names)})
        check_divides(size, model, Degrees(ulysses=4, ring=4))


@pytest.mark.parametrize(
    ("name", "degrees", "sentence"),
    [
        ("wan14b", Degrees(ulysses=2), None),
        ("wan14b", Degrees(ulysses=2, ring=2, cfg=2), None),
        ("wan14b", Degrees(ulysses=3), "does not divide the 2 attention heads"),
        ("hunyuan", Degrees(ulysses=2), None),
        ("hunyuan", Degrees(ring=2), "cannot pass the attention mask"),
        ("hunyuan", Degrees(cfg=2), "HunyuanVideoPipeline) does not: use parallel.cfg=1"),
        ("flux", Degrees(ulysses=2), None),
        ("flux", Degrees(ring=3), "does not divide the 512 text tokens"),
        ("sd3-5", Degrees(ulysses=2), "cannot share model sd3-5 (SD3Transformer2DModel)"),
        ("sdxl", Degrees(ulysses=2), "cannot share model sdxl (UNet2DConditionModel)"),
        ("sdxl", Degrees(), None),
    ],
)
def test_what_a_model_can_share(name: str, degrees: Degrees, sentence: str | None, tmp_path):
    save(name, tmp_path)
    model = options(f"model={name}").model
    if sentence is None:
        check_shareable(model, tmp_path, degrees, 5.0)
    else:
        with pytest.raises(BadInput) as refused:
            check_shareable(model, tmp_path, degrees, 5.0)
        assert sentence in str(refused.value)


def test_every_named_model_is_in_a_case_above():
    assert set(PIPELINES) == {"wan14b", "hunyuan", "flux", "sd3-5", "sdxl"}
