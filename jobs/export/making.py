"""The part of the card that says how the samples were made, and what was measured of it. Pure: from stats.json."""

import json
from typing import Any

from jobs.export.markdown import grid, plain


def making(stats: dict[str, Any]) -> list[str]:
    """Return paragraphs of Markdown.

    Args:
        stats: the contents of stats.json.
    """
    models = ("model", "checkpoint", "revision", "variant", "LoRAs", "quantization", "pipeline", "sampler", "dtype")
    devices = ("device", "name", "attention", "compiled", "offloaded", "ranks", "samples")
    places = ("device", "name", "attention", "compile", "offload", "parallel")
    parts = [
        grid((*models, "samples"), ([*_model(one), one["samples"]] for one in stats["models"])),
        grid(("size", "samples"), ([_size(one), one["samples"]] for one in stats["sizes"])),
        grid(
            devices,
            ([*(_set(one[f"environment_{name}"]) for name in places), one["samples"]] for one in stats["devices"]),
        ),
        grid(
            ("steps on which the network ran", "of", "samples"),
            ([one["evaluated_steps"], one["num_inference_steps"], one["samples"]] for one in stats["steps"]),
        ),
    ]
    return [*parts, *_acceleration(stats)]


def _model(one: dict[str, Any]) -> list[str]:
    dtype = one["dtype"] if one["vae_dtype"] in (one["dtype"], None) else f"{one['dtype']}, VAE {one['vae_dtype']}"
    return [
        one["model"],
        one["checkpoint"] or "local",
        one["revision"],
        one["variant"] or "",
        _loras(json.loads(one["loras"] or "[]"), fused=bool(one["fuse_loras"])),
        ", ".join(f"{part} {how}" for part, how in json.loads(one["quantization"] or "{}").items()),
        one["pipeline"],
        one["scheduler"],
        dtype,
    ]


def _loras(loras: list[dict[str, Any]], *, fused: bool) -> str:
    said = [f"{one['file']} (scale {one['scale']:g}, sha256 {one['sha256'][:16]})" for one in loras]
    return ", ".join([*said, *(["added into the weights"] if loras and fused else [])])


def _size(one: dict[str, Any]) -> str:
    return f"{one['width']}x{one['height']}" + (f", {one['num_frames']} frames" if one["num_frames"] > 1 else "")


def _set(value: Any) -> str:
    """Return an option as the table has it: empty where it is off."""
    return "" if value in (None, "none", False) else str(value)


def _acceleration(stats: dict[str, Any]) -> list[str]:
    forecast = [one for one in stats["acceleration"] if one["algo_name"] != "nocache"]
    if not forecast:
        return []
    names = ("algo_name", "algo_target", "algo_weights", "algo_schedule")
    how = sorted({", ".join(str(one[name]) for name in names if one[name]) for one in forecast})
    said = [f"On the other steps the denoiser was forecast rather than run ({plain('; '.join(how))})."]
    measured = [one for one in forecast if one["algo_expected_psnr"]]
    if measured:
        said.append("How near that comes to running every step was measured by the runs themselves, on samples apart:")
        said += [_expected(one) for one in measured]
    if audits := stats["audits"]:
        psnr, ssim = audits["psnr"], audits["ssim"]
        said.append(
            f"{audits['samples']:,} of these samples were made with every step as well, to compare: PSNR median "
            f"{psnr['median']:.1f} dB, 5th percentile {psnr['p5']:.1f}, worst {psnr['worst']:.1f}; SSIM median "
            f"{ssim['median']:.3f}, worst {ssim['worst']:.3f}."
        )
    elif unmeasured := sum(one["samples"] for one in forecast if not one["algo_expected_psnr"]):
        said.append(f"How far that is from running every step was not measured for {unmeasured:,} of the samples.")
    return [" ".join(said)]


def _expected(one: dict[str, Any]) -> str:
    return (
        f"with {one['evaluated_steps']} of {one['num_inference_steps']} steps evaluated, PSNR "
        f"{one['algo_expected_psnr']:.1f} dB and SSIM {one['algo_expected_ssim']:.3f} on the average "
        f"({one['samples']:,} samples here)."
    )
