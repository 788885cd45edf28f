"""Loads diffusers pipelines from a model config and calls them for one batch. Only this module knows diffusers."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import BadInput
from jobs.plan import Sample

EMBEDDED = "embedded:"
HASHED_WHOLE = 64 << 20  # bytes of weights up to which a local model is identified by its contents


class SampleFailed(Exception):
    """One sample's output is unusable; the message is the reason that goes into the sidecar."""


def resolve_path(path: str) -> str:
    """``embedded:NAME`` -> the directory of an embedded pipeline; anything else as it is (a directory or hub id)."""
    if path.startswith(EMBEDDED):
        from jobs import demo

        return str(demo.path(path.removeprefix(EMBEDDED)))
    return os.path.expanduser(path)


def model_revision(path: str, revision: str | None) -> str:
    """What pins the weights: a digest of a local directory, or the revision asked of the hub.

    Raises:
        BadInput: a local path that holds no pipeline.
    """
    try:
        folder = Path(resolve_path(path))
    except ValueError as error:
        raise BadInput(f"model.path {path}: {error}") from None
    if not folder.is_dir():
        if path.startswith((".", "/", "~", EMBEDDED)):
            raise BadInput(f"model.path {path} is not a directory: give a diffusers pipeline's directory or a hub id")
        return revision or "main"
    if not (folder / "model_index.json").is_file():
        raise BadInput(f"model.path {path} has no model_index.json: give the directory of a whole diffusers pipeline")
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    whole = sum(file.stat().st_size for file in files) <= HASHED_WHOLE
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
        if whole or file.suffix == ".json":
            digest.update(file.read_bytes())
        else:
            _hash_parts(file, digest)
    return digest.hexdigest()[:16]


def _hash_parts(file: Path, digest: Any, parts: int = 8, size: int = 1 << 18) -> None:
    """Of a large weight file take pieces spread evenly: other weights of the same size differ in every one."""
    with open(file, "rb") as stream:
        for part in range(parts):
            stream.seek(part * max(file.stat().st_size - size, 0) // (parts - 1))
            digest.update(stream.read(size))


@dataclass
class Generator:
    """A loaded pipeline, with Spectrum attached or not.

    Attributes:
        pipeline: a diffusers text-to-image pipeline.
        model: the model config (plain dict).
        spectrum: handle of the attached forecaster, or None for the plain pipeline.
    """

    pipeline: Any
    model: dict[str, Any]
    spectrum: Any = None

    @property
    def sampler(self) -> str:
        return type(self.pipeline.scheduler).__name__

    def evaluated_steps(self, num_inference_steps: int) -> int:
        """Steps of a trajectory on which the network runs."""
        return len(self.spectrum.plan_for(num_inference_steps).evaluated) if self.spectrum else num_inference_steps

    def __call__(self, batch: list[Sample]) -> list[np.ndarray]:
        """Generate one batch: samples that share size, steps and guidance.

        Returns:
            One uint8 array (height, width, 3) a sample.

        Raises:
            SampleFailed: the model's output is not finite (a single sample's batch tells which).
        """
        import torch

        first = batch[0]
        guidance: dict[str, Any] = {self.model["guidance_argument"]: first.guidance_scale}
        if self.model["negative_prompts"]:
            guidance["negative_prompt"] = [sample.negative_prompt for sample in batch]
        output = self.pipeline(
            prompt=[sample.prompt for sample in batch],
            height=first.height,
            width=first.width,
            num_inference_steps=first.num_inference_steps,
            generator=[torch.Generator("cpu").manual_seed(sample.seed) for sample in batch],
            output_type="np",
            **guidance,
            **self.model["call"],
        ).images
        if not np.isfinite(output).all():
            raise SampleFailed("the model's output is not finite: lower the guidance, or use a wider dtype")
        return list((output * 255).round().astype(np.uint8))


def load(model: dict[str, Any], algo: dict[str, Any], *, device: str) -> Generator:
    """Load the pipeline of a model config onto ``device`` and attach the algorithm.

    Raises:
        BadInput: the weights are not there, or the pipeline cannot take the algorithm.
    """
    import diffusers
    import torch
    import transformers

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    path = resolve_path(model["path"])
    try:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            path, revision=model["revision"], dtype=getattr(torch, model["dtype"])
        )
    except OSError as error:
        raise BadInput(f"model.path {model['path']} could not be loaded: {_first_line(error)}") from error
    if model["scheduler"] or model["scheduler_args"]:
        scheduler = getattr(diffusers, model["scheduler"]) if model["scheduler"] else type(pipeline.scheduler)
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **model["scheduler_args"])
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    if algo["name"] == "nocache":
        return Generator(pipeline, model)
    import spectrum

    options = spectrum.SpectrumConfig(**{name: value for name, value in algo.items() if name != "name"})
    try:
        return Generator(pipeline, model, spectrum.attach(pipeline, options))
    except ValueError as error:
        raise BadInput(f"algo=spectrum cannot be used with this model: {error}") from error


def versions() -> dict[str, str]:
    """Library versions that decide a sample's bytes."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy", "pillow")}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
