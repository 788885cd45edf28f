"""What one rank of a test does: runs tiny pipelines, alone and shared with the other ranks, and writes what it saw."""

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)

from jobs.model.embeddings import Embeddings
from jobs.model.padding import drop_padding
from jobs.options.degrees import Degrees
from jobs.parallel import decode
from jobs.parallel.decode import SplitDecoder
from jobs.parallel.denoiser import make_mesh, share_denoiser
from jobs.parallel.group import Torn
from jobs.parallel.guidance import Branches
from jobs.parallel.text import SharedText
from spectrum import SpectrumConfig, attach
from tests.tiny_pipelines import PIPELINES

STEPS, EVALUATED = 9, (0, 1, 2, 4, 6)
CONFIG = SpectrumConfig(warmup_steps=3)


def texts(batch: int, length: int, width: int, seed: int) -> torch.Tensor:
    return torch.stack(
        [torch.randn(length, width, generator=torch.Generator().manual_seed(seed + i)) for i in range(batch)]
    )


def wan() -> WanPipeline:
    torch.manual_seed(0)
    transformer = WanTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
    )
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    none = dict.fromkeys(("vae", "text_encoder", "tokenizer"))
    return WanPipeline(scheduler=scheduler, transformer=transformer.eval(), **none)


def wan_arguments(batch: int, guided: bool) -> dict[str, Any]:
    return {
        "prompt_embeds": texts(batch, 8, 16, 0),
        "negative_prompt_embeds": texts(batch, 8, 16, 100),
        "guidance_scale": 4.0 if guided else 1.0,
    }


def hunyuan() -> HunyuanVideoPipeline:
    torch.manual_seed(0)
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=4,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )
    none = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return HunyuanVideoPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0), transformer=transformer.eval(), **none
    )


def hunyuan_arguments(batch: int, guided: bool, lengths: tuple[int, ...] = (5, 3)) -> dict[str, Any]:
    """Prompts of different lengths, padded: the part of some ranks is padding only."""
    mask = torch.zeros(batch, 8)
    for row, length in enumerate(lengths[:batch]):
        mask[row, :length] = 1

    def named(prefix: str, seed: int) -> dict[str, torch.Tensor]:
        return {
            f"{prefix}prompt_embeds": texts(batch, 8, 16, seed),
            f"{prefix}pooled_prompt_embeds": texts(batch, 1, 8, seed)[:, 0],
            f"{prefix}prompt_attention_mask": mask,
        }

    return named("", 0) | (named("negative_", 100) | {"true_cfg_scale": 2.0} if guided else {})


def flux() -> FluxPipeline:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=16,
        pooled_projection_dim=8,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    none = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return FluxPipeline(scheduler=FlowMatchEulerDiscreteScheduler(), transformer=transformer.eval(), **none)


def flux_arguments(batch: int, guided: bool) -> dict[str, Any]:
    named = {"prompt_embeds": texts(batch, 8, 16, 0), "pooled_prompt_embeds": texts(batch, 1, 8, 0)[:, 0]}
    if guided:
        negative = {
            "negative_prompt_embeds": texts(batch, 8, 16, 100),
            "negative_pooled_prompt_embeds": texts(batch, 1, 8, 100)[:, 0],
        }
        named |= {**negative, "true_cfg_scale": 2.0}
    return named


FAMILIES: dict[str, tuple[Callable[[], Any], Callable[[int, bool], dict[str, Any]]]] = {
    "wan": (wan, wan_arguments),
    "hunyuan": (hunyuan, hunyuan_arguments),
    "flux": (flux, flux_arguments),
}


def run(pipe: Any, arguments: dict[str, Any], batch: int) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    frames = {} if isinstance(pipe, FluxPipeline) else {"num_frames": 5}
    return pipe(
        **arguments,
        **frames,
        height=64 if isinstance(pipe, FluxPipeline) else 32,
        width=32,
        num_inference_steps=STEPS,
        generator=[torch.Generator().manual_seed(sample) for sample in range(batch)],
        output_type="latent",
    )[0]


class Collectives:
    """Counts what this rank says or hears within the context, in any group.

    gloo numbers the operations of a group; torch has no public name for that. A ``TorchDispatchMode`` sees collectives
    too, but takes as long for every other operator as these tiny models take for all of their work.
    """

    def __enter__(self) -> "Collectives":
        self._before = self._numbers()
        return self

    def __exit__(self, *_: object) -> None:
        self.count = sum(self._numbers().values()) - sum(self._before.values())

    def _numbers(self) -> dict[Any, int]:
        groups = torch.distributed.distributed_c10d._world.pg_map
        return {group: group._get_sequence_number_for_group() for group in groups}


def count_collectives(denoiser: Any, method: str) -> list[int]:
    """A list that gets the number of collectives of each call of a denoiser's method."""
    counts: list[int] = []
    call = getattr(denoiser, method)

    def counted(*args: Any, **kwargs: Any) -> Any:
        with Collectives() as seen:
            output = call(*args, **kwargs)
        counts.append(seen.count)
        return output

    setattr(denoiser, method, counted)
    return counts


@cache
def run_alone(name: str, batch: int, guided: bool, forecast: bool) -> torch.Tensor:
    """What one process makes of a case by itself."""
    make, arguments = FAMILIES[name]
    pipe = make()
    if forecast:
        attach(pipe, CONFIG)
    return run(pipe, arguments(batch, guided), batch)


def shared_run(name: str, world: int, batch: int, guided: bool, mode: str) -> dict[str, Any]:
    """One case on one rank: how far the shared output is from this process's own, and the collectives of each step."""
    make, arguments = FAMILIES[name][0], FAMILIES[name][1](batch, guided)
    expected = run_alone(name, batch, guided, mode != "plain")

    pipe = make()
    handle = attach(pipe, CONFIG) if mode == "spectrum-first" else None
    degrees = Degrees(ulysses=world)
    share_denoiser(pipe.transformer, degrees, make_mesh(degrees, "cpu"))
    handle = attach(pipe, CONFIG) if mode == "spectrum-last" else handle
    counts = count_collectives(pipe.transformer, "forward")
    made = run(pipe, arguments, batch)
    kept = handle.statistics.history_bytes if handle else 0
    return {"distance": float((made - expected).abs().max()), "collectives": counts, "history": kept}


def unpadded_run(world: int, lengths: tuple[int, ...]) -> dict[str, Any]:
    """HunyuanVideo shared without the padding of its texts, beside one process's with it; and its attention's masks."""
    batch = len(lengths)
    arguments = hunyuan_arguments(batch, False, lengths)
    alone, pipe, degrees = hunyuan(), hunyuan(), Degrees(ulysses=world)
    with attach(alone, CONFIG):
        expected = run(alone, arguments, batch)
    drop_padding(pipe.transformer, degrees.sequence)
    masked: set[bool] = set()
    pipe.transformer.transformer_blocks[0].attn.register_forward_pre_hook(
        lambda module, args, kwargs: masked.add(kwargs["attention_mask"] is not None), with_kwargs=True
    )
    share_denoiser(pipe.transformer, degrees, make_mesh(degrees, "cpu"))
    with attach(pipe, CONFIG):
        made = run(pipe, arguments, batch)
    return {"distance": float((made - expected).abs().max()), "masked": [*masked]}


def output_run(name: str, world: int) -> dict[str, Any]:
    """Ranks that share a denoiser, or its two branches, whose output is forecast; and what they say in all."""
    split = name == "branches"
    make, arguments = (wan, wan_arguments(2, True)) if split else (FAMILIES[name][0], FAMILIES[name][1](2, True))
    alone, pipe = make(), make()
    with attach(alone, CONFIG, target="output"):
        expected = run(alone, arguments, 2)

    degrees = Degrees(ulysses=world // 2, cfg=2) if split else Degrees(ulysses=world)
    mesh = make_mesh(degrees, "cpu")
    if degrees.sequence > 1:
        share_denoiser(pipe.transformer, degrees, mesh)
    if split:
        Branches(pipe, [pipe.transformer], mesh)
    counts = count_collectives(pipe.transformer, "_call_impl")
    with attach(pipe, CONFIG, target="output") as handle:
        with Collectives() as seen:
            made = run(pipe, arguments, 2)
        assert (run(pipe, arguments, 2) == made).all()
    return {
        "distance": float((made - expected).abs().max()),
        "collectives": counts[: len(counts) // 2],  # of the first of the two runs
        "all collectives": seen.count,
        "history": handle.statistics.history_bytes,
    }


def branches_run(world: int, batch: int, guided: bool, mode: str) -> dict[str, Any]:
    """Wan with its branches of guidance on different ranks, each of them shared by half of the ranks."""
    arguments = wan_arguments(batch, guided)
    expected = run_alone("wan", batch, guided, mode == "spectrum")

    pipe, degrees = wan(), Degrees(ulysses=world // 2, cfg=2)
    mesh = make_mesh(degrees, "cpu")
    if degrees.sequence > 1:
        share_denoiser(pipe.transformer, degrees, mesh)
    handle = attach(pipe, CONFIG) if mode == "spectrum" else None
    branches = Branches(pipe, [pipe.transformer], mesh)
    counts = count_collectives(pipe.transformer, "_call_impl")
    made = run(pipe, arguments, batch)
    assert (run(pipe, arguments, batch) == made).all()
    interrupted(pipe, arguments, batch)
    branches.restart()
    assert (run(pipe, arguments, batch) == made).all()
    kept = handle.statistics.history_bytes if handle else 0
    return {"distance": float((made - expected).abs().max()), "collectives": counts, "history": kept}


def interrupted(pipe: Any, arguments: dict[str, Any], batch: int) -> None:
    """A trajectory that ends between the two calls of a step, on all ranks alike."""
    call, calls = pipe.transformer._call_impl, []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise ValueError("a prompt that cannot be")
        return call(*args, **kwargs)

    pipe.transformer._call_impl = failing
    try:
        run(pipe, arguments, batch)
    except ValueError:
        pass
    finally:
        pipe.transformer._call_impl = call


@torch.no_grad()
def encoded(name: str, rank: int) -> dict[str, Any]:
    """What a rank has of prompts that rank 0 encodes, beside what this process's own encoders make of them."""
    torch.manual_seed(0)
    pipe = PIPELINES[name]()
    parts = [part for part in pipe.components if part.startswith("text_encoder")]
    for part in parts:
        getattr(pipe, part).eval()
    prompts, more = ["a cat", "a dog that runs, né"], {"do_classifier_free_guidance": True} if name == "wan14b" else {}
    expected = pipe.encode_prompt(prompts, **more)
    kept = None if rank else Embeddings.of(pipe)
    SharedText(pipe, rank, "cpu")
    with Collectives() as seen:
        made = pipe.encode_prompt(prompts, **more)
    failed = ""
    try:
        pipe.encode_prompt([7])
    except (RuntimeError, TypeError, ValueError) as error:
        failed = f"{type(error).__name__}: {error}"
    return {
        "same": [
            one.dtype == other.dtype and torch.equal(one, other) for one, other in zip(made, expected, strict=True)
        ],
        "collectives": seen.count,
        "encoders": [part for part in parts if getattr(pipe, part) is not None],
        "failed": failed,
        "again": torch.equal(pipe.encode_prompt(prompts, **more)[0], expected[0]),
        "kept": kept is None or kept.encoded == 2,  # the prompts once, and what cannot be encoded
    }


def vae(name: str) -> Any:
    """A tiny autoencoder that decodes in tiles of 16 pixels (and of 4 frames) with a stride of 8."""
    torch.manual_seed(0)
    if name == "wan":
        made = AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
        made.enable_tiling(16, 16, 8, 8)
    else:
        kind = "HunyuanVideoUpBlock3D"
        made = AutoencoderKLHunyuanVideo(
            latent_channels=4,
            down_block_types=(kind.replace("Up", "Down"),) * 4,
            up_block_types=(kind,) * 4,
            block_out_channels=(4, 4, 4, 4),
            layers_per_block=1,
            norm_num_groups=2,
        )
        made.enable_tiling(
            tile_sample_min_height=16,
            tile_sample_min_width=16,
            tile_sample_min_num_frames=8,
            tile_sample_stride_height=8,
            tile_sample_stride_width=8,
            tile_sample_stride_num_frames=4,
        )
    made.enable_slicing()
    return made.eval()


@torch.no_grad()
def decoded(name: str, rank: int, world: int, tiled: bool) -> dict[str, Any]:
    """What the ranks decode together, beside what this process decodes by itself; rank 0 has the clip."""
    latents = torch.randn(2, 4, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    alone, shared = vae(name), vae(name)
    for each in (alone, shared):
        each.use_tiling = tiled
    expected = alone.decode(latents).sample
    events: list[str] = []
    shared.decoder.forward = noted(shared.decoder.forward, events, "call")
    SplitDecoder(shared, rank, world)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("isend", "irecv"):
            patch.setattr(decode.dist, name, noted(getattr(torch.distributed, name), events, name))
        made = [shared.decode(latents).sample for _ in range(2)]
    return {
        "shape": list(made[0].shape),
        "same": [bool(torch.equal(one, expected)) for one in made],
        "events": events[: len(events) // 2],
    }


def noted(call: Callable[..., Any], events: list[str], name: str) -> Callable[..., Any]:
    """The same function, which adds its name to what happened."""

    def noting(*args: Any, **kwargs: Any) -> Any:
        events.append(name)
        return call(*args, **kwargs)

    return noting


def failing_after(calls: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which fails from a number of calls on."""
    left = iter(range(calls))
    return lambda *args: call(*args) if next(left, None) is not None else 1 / 0


@torch.no_grad()
def torn(rank: int, world: int) -> dict[str, str]:
    """What becomes of an error of all ranks in their first tile, and in their second."""
    latents, became = torch.randn(1, 4, 3, 4, 5), {}
    for good in (0, 1):
        shared = vae("hunyuan")
        shared.decoder.forward = failing_after(good, shared.decoder.forward)
        SplitDecoder(shared, rank, world)
        try:
            shared.decode(latents)
        except (ZeroDivisionError, Torn) as error:
            became[str(good)] = f"{type(error).__name__}: {error}"
    return became


MODES = ("plain", "spectrum-first", "spectrum-last")
# By the number of ranks: everything on two; on four, where only the parts are smaller, one of each kind.
CASES = {
    2: list(product((1, 2), (False, True), MODES)),
    4: [(1, False, "spectrum-first"), *((2, True, mode) for mode in MODES)],
}


def rank_main(rank: int, world: int, port: int, out: str) -> None:
    """Run every case of every family as one rank of ``world``; the results go to ``out``."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    results: dict[str, dict[str, Any]] = {
        name: {
            f"{batch} {guided} {mode}": shared_run(name, world, batch, guided, mode)
            for batch, guided, mode in CASES[world]
        }
        for name in FAMILIES
    }
    results["branches"] = {
        f"{batch} {guided} {mode}": branches_run(world, batch, guided, mode)
        for batch, guided, mode in product((1, 2), (False, True), ("plain", "spectrum"))
    }
    results["output"] = {name: output_run(name, world) for name in (*FAMILIES, "branches")}
    results["decoded"] = {
        f"{name} {'tiles' if tiled else 'whole'}": decoded(name, rank, world, tiled)
        for name, tiled in product(("wan", "hunyuan"), (True, False))
    }
    results["encoded"] = {name: encoded(name, rank) for name in ("flux", "hunyuan", "wan14b")}
    results["unpadded"] = {f"{lengths}": unpadded_run(world, lengths) for lengths in ((4, 4), (5,))}
    results["torn"] = torn(rank, world)
    torch.distributed.destroy_process_group()
    Path(out, f"{rank}.json").write_text(json.dumps(results))
