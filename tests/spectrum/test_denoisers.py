"""The table of denoisers: how a row is found."""

import pytest
from torch import nn

from spectrum import DENOISERS, SpectrumError
from spectrum.denoisers import spec_of
from spectrum.stacks import empty_stacks, heads_of
from tests.spectrum.tiny import FAMILIES


def test_every_row_fits_its_family(family):
    denoiser = family.denoiser()
    spec = spec_of(denoiser)
    assert spec.class_name == type(denoiser).__name__
    assert [place for place, _ in heads_of(denoiser, spec)] == list(range(len(spec.heads)))
    assert set(spec.stand_ins) <= set(spec.stacks)
    for name, empty in empty_stacks(denoiser, spec).items():
        full = getattr(denoiser, name)
        assert (empty is None) != isinstance(full, nn.ModuleList)
        assert empty is None or (len(empty) == (name in spec.stand_ins) and len(full) > 0)


def test_no_list_of_blocks_is_forgotten(family):
    denoiser = family.denoiser()
    lists = {name for name, child in denoiser.named_children() if isinstance(child, nn.ModuleList)}
    projections = {"caption_projection"}  # of the prompts of each block, in Bria FIBO and HiDream
    assert lists - projections <= set(spec_of(denoiser).stacks)


def test_every_row_is_tested():
    tested = {type(family.denoiser()).__name__ for family in FAMILIES.values()}
    assert tested == {row.class_name for row in DENOISERS}
    assert len(DENOISERS) == len(tested)


def test_a_subclass_is_found_by_the_name_of_its_base(flux):
    transformer = flux.make().transformer
    transformer.__class__ = type("MyFlux", (type(transformer),), {})
    assert spec_of(transformer).class_name == "FluxTransformer2DModel"


def test_an_unknown_denoiser_is_refused_with_the_known_ones():
    with pytest.raises(SpectrumError, match=r"does not know the denoiser Linear, only .*Flux.*UNet2DCondition"):
        spec_of(nn.Linear(1, 1))


def test_a_denoiser_without_its_head_is_refused(family):
    denoiser = family.denoiser()
    setattr(denoiser, spec_of(denoiser).heads[-1], None)
    with pytest.raises(SpectrumError, match="has no "):
        spec_of(denoiser)
