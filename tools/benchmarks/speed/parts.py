"""What a sample takes beside its denoising: the text encoders and the autoencoder, with random weights."""

from collections.abc import Callable
from typing import Any

import torch

from jobs.rehearse.published import PUBLISHED
from tools.benchmarks.common.denoisers import Model, Scale, default_dtype
from tools.benchmarks.common.device import host_clock, synchronize
from tools.benchmarks.common.timing import median_seconds

LAYERS = ("num_hidden_layers", "num_layers")  # of text encoders, as their configs call them


def time_parts(
    model: Model, scale: Scale, batch: int, device: torch.device, dtype: torch.dtype, repeats: int
) -> dict[str, dict[str, Any]]:
    """Time one call of each text encoder, with as many tokens as it takes, and of the autoencoder's decoder.

    Args:
        model: Whose parts.
        scale: Of the picture or clip, and of the encoders' numbers of layers; 1 is the real size.
        batch: Prompts, and samples.
        device: Where.
        dtype: Of the weights.
        repeats: Calls, of which the median is taken, after one that is not counted.

    Returns:
        Part -> ``seconds`` and ``weights_bytes``.
    """
    index, rows = PUBLISHED[model.source], {}
    for name, (library, kind, config) in index.parts.items():
        if not (name.startswith("text_encoder") or name == "vae"):
            continue
        if library == "transformers":
            config = config | {key: scale.count(config[key]) for key in LAYERS if key in config}
        module = _built(library, kind, config, device, dtype)
        if name == "vae":
            call, given = module.decode, _latents(module, model.size(scale).call, batch).to(device, dtype)
        else:
            limit = index.parts[name.replace("text_encoder", "tokenizer")][2]["limit"]
            call, given = module, torch.ones(batch, limit, dtype=torch.long, device=device)
        seconds = _seconds(call, given, device, repeats)
        weights = sum(one.nbytes for one in (*module.parameters(), *module.buffers()))
        rows[name] = {"kind": kind, "seconds": seconds, "weights_bytes": weights}
        del module, call
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return rows


def _seconds(call: Callable[[torch.Tensor], Any], given: torch.Tensor, device: torch.device, repeats: int) -> float:
    def timed() -> None:
        call(given)
        synchronize(device)

    with torch.inference_mode():
        timed()
        return median_seconds(timed, repeats, host_clock(device))[1]


def _built(library: str, kind: str, config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    import diffusers
    import transformers

    torch.manual_seed(0)
    with default_dtype(dtype), device:
        if library == "diffusers":
            return getattr(diffusers, kind).from_config(config).to(device).eval()
        owner = getattr(transformers, kind)
        return owner(owner.config_class.from_dict(config)).to(device).eval()


def _latents(autoencoder: Any, call: dict[str, int], batch: int) -> torch.Tensor:
    """Return latents of the call's picture or clip, all of whose autoencoders divide sides by 8 and frames by 4."""
    config = autoencoder.config
    channels = config.get("latent_channels") or config["z_dim"]
    frames = ((call["num_frames"] - 1) // 4 + 1,) if "num_frames" in call else ()
    return torch.zeros(batch, channels, *frames, call["height"] // 8, call["width"] // 8)
