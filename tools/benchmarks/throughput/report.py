"""The results as a page."""

from typing import Any

from tools.benchmarks.common.machine import versions
from tools.benchmarks.common.table import table

COMMAND = "python -m tools.benchmarks.throughput"
COLUMNS = ("text", "denoise", "decode", "encode", "waited")


def render(results: dict[str, Any]) -> str:
    """Return the page's text.

    Args:
        results: the machine, the context, and ``cases`` as ``tools.benchmarks.throughput.measure`` returns them.
    """
    machine = results["machine"]
    parts = [
        "# From prompts to files",
        f"Made by `{COMMAND}`; the same numbers for programs are in `throughput.json`. Samples an hour from the first "
        "batch to the published shard, the model loaded and warm, one worker on one thread. The plain loop calls the "
        "same pipeline of diffusers with the same options, Spectrum among them, and saves what it gives with Pillow or "
        "imageio-ffmpeg before the next call. Numbers are medians of turns, in which the candidates take turns, and "
        "ratios are taken within a turn. Shares are of the whole time: two stages that overlap add up to more than it, "
        "and encoding has several threads. `waited` is what the generating thread stood for want of room in the "
        "writer's queue.",
        table(
            ("machine", ""),
            [
                ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
                ("system", f"{machine['system']}, Python {machine['python']}, {versions(machine)}"),
            ],
        ),
    ]
    for case in results["cases"]:
        parts += [f"## {case['case']}", _about(case), _candidates(case)]
    parts.append(
        f"Measured on {results['date']} with `{results['command']}` in {results['seconds']:.0f} s, "
        f"{results['repeats']} turns; other processes kept {results['cores_busy_elsewhere']:.1f} of the "
        f"{machine['cores']} cores busy meanwhile."
    )
    return "\n\n".join(parts) + "\n"


def _about(case: dict[str, Any]) -> str:
    return (
        f"{case['samples']} samples in batches of {case['batch']}, {case['steps']} steps, guidance "
        f"{case['guidance']:g}, `algo={case['algo']}`."
    )


def _candidates(case: dict[str, Any]) -> str:
    found = case["candidates"]
    others = [one["name"] for one in found[:-1]]
    rows = [
        (
            one["name"],
            f"{one['rate']:,.0f}",
            *(f"{one['ratios'][other]:.2f}" for other in others),
            *(_share(one, stage) for stage in COLUMNS),
        )
        for one in found
    ]
    return table(("", "samples an hour", *(f"ratio to {other}" for other in others), *COLUMNS), rows)


def _share(one: dict[str, Any], stage: str) -> str:
    return f"{100 * one[stage]:.1f} %" if stage in one else ""
