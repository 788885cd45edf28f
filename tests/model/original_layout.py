"""Weights by the names that they have in the files of their authors, and in GGUF: diffusers' turned around."""

import re
from pathlib import Path
from typing import Any

import gguf
import torch
from diffusers import StableDiffusionXLPipeline

Weights = dict[str, torch.Tensor]

_UNET = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
_UNET |= {f"time_embedding.linear_{n}": f"time_embed.{2 * n - 2}" for n in (1, 2)}
_UNET |= {f"add_embedding.linear_{n}": f"label_emb.0.{2 * n - 2}" for n in (1, 2)}
_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0"}
_RESNET |= {"conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding": "token_embedding",
    "encoder.layers": "transformer.resblocks",
    "final_layer_norm": "ln_final",
    "layer_norm": "ln_",
    "fc1": "c_fc",
    "fc2": "c_proj",
    "self_attn": "attn",
}
_SD3 = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
_SD3_BLOCK = {
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}


def sd3(transformer: Any) -> Weights:
    """Return the weights of an SD3 transformer."""
    found: Weights = {}
    last = len(transformer.transformer_blocks) - 1
    for key, weight in transformer.state_dict().items():
        if match := re.match(r"transformer_blocks\.(\d+)\.(.*)", key):
            name = _renamed(match[2], _SD3_BLOCK)
            found[f"joint_blocks.{match[1]}.{name}"] = weight
        else:
            found[_renamed(key, _SD3)] = weight
    swapped = (f"joint_blocks.{last}.context_block.adaLN_modulation.1", "final_layer.adaLN_modulation.1")
    for key in [f"{name}.{end}" for name in swapped for end in ("weight", "bias")]:
        found[key] = torch.cat(found[key].chunk(2)[::-1])
    for number in range(last + 1):
        for block, names in (("x", ("to_q", "to_k", "to_v")), ("context", ("add_q_proj", "add_k_proj", "add_v_proj"))):
            for end in ("weight", "bias"):
                parts = [found.pop(f"joint_blocks.{number}.attn.{name}.{end}") for name in names]
                found[f"joint_blocks.{number}.{block}_block.attn.qkv.{end}"] = torch.cat(parts)
    return found


def sdxl(pipeline: StableDiffusionXLPipeline) -> Weights:
    """Return the weights of a whole SDXL."""
    layers = pipeline.unet.config.layers_per_block
    ups = len(pipeline.vae.config.up_block_types)
    found = {
        f"model.diffusion_model.{_unet(key, layers)}": weight for key, weight in pipeline.unet.state_dict().items()
    }
    for key, weight in pipeline.vae.state_dict().items():
        is_linear = "attentions" in key and weight.dim() == 2  # there it is a convolution of one pixel
        found[f"first_stage_model.{_vae(key, ups)}"] = weight[:, :, None, None] if is_linear else weight
    for key, weight in pipeline.text_encoder.state_dict().items():
        found[f"conditioner.embedders.0.transformer.text_model.{key.removeprefix('text_model.')}"] = weight
    found |= {f"conditioner.embedders.1.model.{key}": one for key, one in _open_clip(pipeline.text_encoder_2).items()}
    return {key: weight.contiguous() for key, weight in found.items()}


def _unet(key: str, layers: int) -> str:
    match = re.match(r"(down|up|mid)_blocks?\.(?:(\d+)\.)?(resnets|attentions|\w+samplers)\.(\d+)\.(.*)", key)
    if not match:
        return _renamed(key, _UNET)
    where, block, kind, layer, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    rest = _renamed(rest, _RESNET) if kind == "resnets" else rest
    if where == "mid":
        return f"middle_block.{2 * layer if kind == 'resnets' else 1}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{(block + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        return f"output_blocks.{(block + 1) * (layers + 1) - 1}.2.{rest}"
    place = f"input_blocks.{1 + block * (layers + 1) + layer}" if where == "down" else ""
    place = place or f"output_blocks.{block * (layers + 1) + layer}"
    return f"{place}.{0 if kind == 'resnets' else 1}.{rest}"


def _vae(key: str, ups: int) -> str:
    if "attentions" in key:
        key = _renamed(key, {f".{name}.": f".{old}." for name, old in _VAE_ATTENTION.items()})
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", key)
    key = re.sub(r"up_blocks\.(\d)", lambda match: f"up.{ups - 1 - int(match[1])}", key)
    named = {"down_blocks": "down", "mid_block.attentions.0": "mid.attn_1", "resnets": "block"}
    named |= {"downsamplers.0": "downsample", "upsamplers.0": "upsample"}
    return _renamed(key, {**named, "conv_shortcut": "nin_shortcut", "conv_norm_out": "norm_out"})


def _open_clip(encoder: Any) -> Weights:
    found: Weights = {}
    for key, weight in encoder.state_dict().items():
        if key == "text_projection.weight":
            found["text_projection"] = weight.T
        else:
            found[_renamed(key.removeprefix("text_model."), _OPEN_CLIP)] = weight
    for key in [key for key in found if ".q_proj." in key]:
        parts = [found.pop(key.replace("q_proj", name)) for name in ("q_proj", "k_proj", "v_proj")]
        found[key.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    return found


def _renamed(key: str, names: dict[str, str]) -> str:
    for name, old in names.items():
        key = key.replace(name, old, 1)
    return key


def write_gguf(weights: Weights, file: Path) -> Weights:
    """Write weights into a GGUF file, matrices of at least 32 columns as Q8_0; return what they are from then on.

    diffusers takes these by way of float16.
    """
    writer, kept = gguf.GGUFWriter(file, "test"), {}
    for key, weight in weights.items():
        values = weight.float().numpy()
        if weight.dim() == 2 and weight.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            packed = gguf.quants.quantize(values, kind)
            writer.add_tensor(key, packed, raw_dtype=kind)
            kept[key] = torch.from_numpy(gguf.quants.dequantize(packed, kind)).half().float()
        else:
            writer.add_tensor(key, values)
            kept[key] = torch.from_numpy(values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept
