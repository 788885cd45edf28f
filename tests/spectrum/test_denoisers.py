"""The table of denoisers: how a row is found."""

import pytest
from torch import nn

from spectrum import DENOISERS, SpectrumError
from spectrum.denoisers import empty_stacks, spec_of
from tests.spectrum.tiny import FAMILIES


def test_every_row_fits_its_family(family):
    pipe = family.make()
    denoiser = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet
    spec = spec_of(denoiser)
    assert spec.class_name == type(denoiser).__name__
    assert isinstance(getattr(denoiser, spec.head), nn.Module)
    for name, empty in empty_stacks(denoiser, spec).items():
        full = getattr(denoiser, name)
        assert (empty is None) != isinstance(full, nn.ModuleList)
        assert empty is None or len(empty) == 0 < len(full)


def test_every_row_is_tested():
    assert len(FAMILIES) == len(DENOISERS)


def test_a_subclass_is_found_by_the_name_of_its_base(flux):
    transformer = flux.make().transformer
    transformer.__class__ = type("MyFlux", (type(transformer),), {})
    assert spec_of(transformer).class_name == "FluxTransformer2DModel"


def test_an_unknown_denoiser_is_refused_with_the_known_ones():
    with pytest.raises(SpectrumError, match=r"does not know the denoiser Linear, only Flux.*UNet2DCondition"):
        spec_of(nn.Linear(1, 1))


def test_a_denoiser_without_its_head_is_refused(family):
    pipe = family.make()
    denoiser = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet
    setattr(denoiser, spec_of(denoiser).head, None)
    with pytest.raises(SpectrumError, match="has no "):
        spec_of(denoiser)
