"""Tiny random pipelines of every family in the table, and an oracle for what they should forecast.

The pipelines have no text encoders and no VAE: embeddings in, latents out.
"""

from tests.spectrum.tiny import classic, images, more_videos, odd_images, packed, videos
from tests.spectrum.tiny.family import STEPS, Family, embeddings, quiet
from tests.spectrum.tiny.oracle import oracle

__all__ = ["FAMILIES", "STEPS", "Family", "embeddings", "oracle", "quiet"]

_MODULES = (classic, packed, images, odd_images, videos, more_videos)

FAMILIES = {family.name: family for module in _MODULES for family in module.FAMILIES}
