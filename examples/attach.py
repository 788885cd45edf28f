"""Spectrum on a diffusers pipeline, with the embedded one as the example: ``python examples/attach.py [IMAGE.png]``."""

import sys

import diffusers
import torch

import spectrum
from jobs.model import demo

pipe = diffusers.DiffusionPipeline.from_pretrained(demo.path("image"), dtype=torch.float32)
prompt = "a green star on a black background"
size = {"height": 64, "width": 64, "max_sequence_length": 16}

with spectrum.attach(pipe, spectrum.SpectrumConfig(w=0.5)) as handle:
    image = pipe(prompt, num_inference_steps=50, generator=torch.Generator().manual_seed(0), **size).images[0]
print(f"{handle.statistics.evaluated_steps} of {handle.statistics.num_steps} steps evaluated")
image.save(sys.argv[1] if len(sys.argv) > 1 else "star.png")
