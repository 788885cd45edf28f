"""What is read from diffusers' source is what the imported classes say."""

import inspect

import diffusers
import pytest

from jobs.model.sources import COMPUTED, REQUIRED, ancestry, is_known, parameters_of

CLASSES = [
    ("FluxPipeline", "__call__"),
    ("StableDiffusionPipeline", "__call__"),
    ("StableDiffusionXLPipeline", "__call__"),
    ("StableDiffusion3Pipeline", "__call__"),
    ("HunyuanVideoPipeline", "__call__"),
    ("WanPipeline", "__call__"),
    ("WanImageToVideoPipeline", "__call__"),
    ("SanaVideoPipeline", "__call__"),
    ("StableDiffusionXLInstructPix2PixPipeline", "__call__"),
    ("UniPCMultistepScheduler", "__init__"),
    ("FlowMatchEulerDiscreteScheduler", "__init__"),
    ("DDPMParallelScheduler", "__init__"),
]


@pytest.mark.parametrize(("name", "method"), CLASSES)
def test_parameters_are_those_of_the_class(name: str, method: str) -> None:
    real = dict(inspect.signature(getattr(getattr(diffusers, name), method)).parameters)
    del real["self"]
    read = parameters_of(name, method)
    assert read is not None
    assert list(read) == [one for one, parameter in real.items() if parameter.kind is not parameter.VAR_KEYWORD]
    for one, default in read.items():
        if default is REQUIRED:
            assert real[one].default is inspect.Parameter.empty
        elif default is not COMPUTED:
            assert real[one].default == default


def test_a_default_that_has_a_name_is_looked_up() -> None:
    parameters = parameters_of("HunyuanVideoPipeline", "__call__")
    assert parameters is not None and parameters["prompt_template"]["crop_start"] == 95


def test_ancestors_are_followed() -> None:
    assert ancestry("DDPMParallelScheduler")[0] == "DDPMParallelScheduler"
    for name in ("HunyuanSkyreelsImageToVideoPipeline", "FluxTransformer2DModel", "PNDMScheduler"):
        assert set(ancestry(name)) <= {base.__name__ for base in getattr(diffusers, name).__mro__}
    assert ancestry("NothingPipeline") == () and parameters_of("NothingPipeline", "__call__") is None


def test_classes_are_known_by_their_names() -> None:
    assert is_known("FluxPipeline") and is_known("PNDMScheduler") and is_known("AutoencoderKLWan")
    assert not is_known("FluxPipelin") and not is_known("diffusers")
