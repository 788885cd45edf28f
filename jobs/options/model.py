"""What a model is: the options of conf/model/NAME.yaml and ``model.KEY=value``, and those that may differ by sample.

An option that may differ from sample to sample is one field of ``SampleOptions``, and one line in
``jobs.model.pipeline`` where the pipeline is called: docs/architecture.md has the example.
"""

from dataclasses import dataclass, field
from typing import Any

from jobs.options.fields import MISSING, option

DTYPES = ("float32", "bfloat16", "float16")
AUTO = "auto"  # what batch_size and model.vae_tiling may be until a run begins


@dataclass(frozen=True)
class SampleOptions:
    """What may differ from sample to sample.

    A column of the prompt file sets it for one prompt, the command line for all others, and the model file says what it
    is where neither does.
    """

    num_inference_steps: int = option(None, "denoising steps", least=1, short=True)
    height: int = option(None, "pixels", least=1, short=True)
    width: int = option(None, "pixels", least=1, short=True)
    num_frames: int = option(None, "frames of a clip", least=1, fallback=1)
    guidance_scale: float = option(None, "strength of guidance by the prompt", least=0, short=True)
    negative_prompt: str = option(
        None, "negative prompt, if the model supports one", blank=True, shared_by_batch=False, short=True, fallback=""
    )


@dataclass(frozen=True)
class FeatureOptions:
    """The tensor that enters the denoiser's head, to foretell its memory and how ranks can share it."""

    channels: int = option(MISSING, "channels of the feature", least=1)
    pixels: int = option(16, "pixels of height, and of width, for each of its positions", least=1)
    frames: int = option(1, "frames for each of its positions", least=1)
    output: int = option(64, "numbers of the denoiser's output for each of its positions", least=1)


@dataclass(frozen=True)
class ModelOptions(SampleOptions):
    """A model: ``model=NAME`` takes conf/model/NAME.yaml, ``model.KEY=value`` changes one of these."""

    name: str = option(MISSING, "what the model is called in the run's directory and in every sample's json")
    path: str = option(
        MISSING, "a hub id, a diffusers pipeline's directory, a .safetensors file of a whole one, or embedded:NAME",
        short=True,
    )  # fmt: skip
    config: str | None = option(
        None,
        "of a single file: a pipeline's directory or hub id whose configuration it has; null: known by its weights",
    )
    revision: str | None = option(None, "branch, tag or commit on the hub; null: its default branch")
    variant: str | None = option(None, "which files of the weights are loaded: fp16, bf16, ...; null: the plain ones")
    vae: str | None = option(
        None, "another autoencoder: a folder, a hub id like madebyollin/sdxl-vae-fp16-fix, or a .safetensors file"
    )
    transformer: str | None = option(None, "another denoiser: a .gguf or .safetensors file, a folder, or a hub id")
    transformer_2: str | None = option(None, "likewise the second one of Wan2.2")
    loras: Any = option(
        None, "LoRAs: [{path: style.safetensors, scale: 0.8}, ...]; for Wan2.2 each with into: transformer, or "
        "transformer_2"
    )  # fmt: skip
    fuse_loras: bool = option(False, "add LoRAs into the weights: as fast as without, and not quite the same bits")
    dtype: str = option("bfloat16", "dtype of the weights and the arithmetic", choices=DTYPES, short=True)
    vae_dtype: str | None = option(None, "another dtype for the autoencoder alone; null: dtype", choices=DTYPES)
    vae_tiling: bool = option(
        False, "decode in tiles and one sample at a time: less memory, faint seams; auto: only where a call would not "
        "fit onto the GPU otherwise, found when the run begins", words=(AUTO,),
    )  # fmt: skip
    scheduler: str | None = option(None, "a diffusers scheduler class instead of the checkpoint's own")
    scheduler_args: dict[str, Any] = option({}, "changes to the scheduler's configuration")
    size_multiple: int = option(16, "height and width must be multiples of this", least=1)
    frame_step: int | None = option(None, "num_frames must be a multiple of this plus 1; null: images", least=1)
    fps: int | None = option(None, "frames a second of the mp4; null: images", least=1)
    batch_size: int = option(1, "samples in one pipeline call", least=1)
    guidance_argument: str = option("guidance_scale", "the pipeline argument that guidance_scale goes to")
    negative_prompts: bool = option(False, "whether the pipeline supports negative prompts")
    call: dict[str, Any] = option({}, "further arguments of every pipeline call")
    step_seconds: float | None = option(
        None, "rough seconds of an evaluated step of one sample of this size, to size tasks until some are measured",
        least=0,
    )  # fmt: skip
    gpus: int = option(1, "GPUs that one rank asks the cluster for; 0: runs on a CPU too", least=0)
    offload: str = option(
        "none", "keep weights in main memory (least memory, slowest: sequential)",
        choices=("none", "model", "group", "sequential"),
    )  # fmt: skip
    quantization: Any = option(
        None, "parts whose weights are kept in fewer bits, like {transformer: int8}: int8, int8-dynamic, float8, "
        "float8-dynamic (torchao), bnb-8bit, bnb-4bit (bitsandbytes)"
    )  # fmt: skip
    attention: str | None = option(
        None, "attention backend of diffusers: flash, flash_hub, sage, native, ...; null: native, or "
        "DIFFUSERS_ATTN_BACKEND"
    )  # fmt: skip
    drop_padding: bool = option(
        False, "of HunyuanVideo: compute without the padding of texts, which takes no attention mask where all of a "
        "batch have one length; last bits differ"
    )  # fmt: skip
    compile: str = option(
        "none", "torch.compile: the repeated blocks; or the whole denoiser, also with max-autotune (CUDA graphs), for "
        "algo.target=output or algo=nocache; the first batch takes minutes longer",
        choices=("none", "blocks", "whole", "max-autotune"),
    )  # fmt: skip
    feature: FeatureOptions = field(default_factory=FeatureOptions)
