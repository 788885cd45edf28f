"""The measurements and the clips as a page of tables, each number beside what the cost model says."""

from typing import Any

from jobs.options.degrees import Degrees
from tools.benchmarks.common.machine import versions
from tools.benchmarks.common.table import table
from tools.benchmarks.parallel.cost import fit_line
from tools.benchmarks.parallel.predict import EVALUATED, STEPS, Assumptions, Checked, check, clip

TITLES = {"wan": "Wan2.1-T2V-14B", "hunyuan": "HunyuanVideo"}

COMMAND = "python -m tools.benchmarks.parallel"

INTRODUCTION = f"""Made by `{COMMAND}`; the same numbers for programs are in the `parallel-*.json` beside this page. A \
step is all denoiser calls of one denoising step: two for Wan, whose guidance calls it twice, one for HunyuanVideo.

The cost model takes what a rank does in a step (floating-point operations, bytes of memory, each collective with its \
bytes and its ranks) from the real denoiser with its real plan, run without memory on tensors of the meta device in a \
process group that is not there. Time is operations / FLOP/s + bytes / bandwidth + messages x latency, with nothing \
overlapping: diffusers waits for every collective at once."""

CHOICE = """**Which degrees to choose.** These follow from the model, not from runs on such GPUs:

- Several clips to make and one fits a GPU: share none (`ngpu=` makes one clip a GPU). Sharing shortens the time to \
one clip and the history each GPU keeps, but the GPUs' time a clip only grows, and every GPU holds all weights.
- Wan: `parallel.cfg=2` before `parallel.ulysses`. Its ranks exchange one output a step where Ulysses exchanges four \
tensors in each block, so it costs next to nothing even between nodes; it halves the history as well. HunyuanVideo has \
one call a step and nothing to split that way.
- Then `parallel.ulysses` within a node, up to its GPUs. It must divide the heads (40 of Wan2.1-14B, 24 of \
HunyuanVideo), and all of ulysses x ring must divide the tokens of a clip (118,800 at 720p x 129 frames, 75,600 at 81) \
and HunyuanVideo's 256 text tokens.
- `parallel.ring` only for Wan and only where heads do not divide further: it sends more than Ulysses, between \
nodes as well, and merges partial results besides, which the model leaves out."""

LEFT_OUT = """The model leaves out: text encoder and autoencoder, the copies that reorder heads before and after each \
exchange, merging the parts of ring attention, uneven ranks, and that a GPU's sustained FLOP/s may fall as its part \
of the sequence shrinks. HunyuanVideo's attention has a mask, with which PyTorch does not choose its flash kernel: its \
sustained FLOP/s may well be below the assumed."""


def render(machines: list[dict[str, Any]], clips: list[dict[str, Any]], assumed: Assumptions) -> str:
    """Return everything that was measured and counted as Markdown."""
    parts = ["# A clip shared by several ranks", INTRODUCTION]
    for results in machines:
        parts += _machine(results)
    if clips:
        parts += _clips(clips, assumed)
    return "\n\n".join(parts) + "\n"


def _machine(results: dict[str, Any]) -> list[str]:
    machine, conditions, worlds = results["machine"], results["conditions"], results["worlds"]
    gpu = conditions["device"] == "cuda"
    rows = check(results)
    scale = "the real size" if conditions["scale"] == 1 else f"shrunk to scale {conditions['scale']:g}"
    text = (
        f"{'nccl, a GPU a rank' if gpu else 'gloo on 127.0.0.1, a thread a rank'}; {machine['cores']} cores, "
        f"{machine['memory_gib']:g} GiB. Python {machine['python']}, {versions(machine)}. Models {scale}, "
        f"{conditions['dtype']}, {conditions['steps']} steps with Spectrum. Times are medians over the steps of the "
        f"slowest rank, which all ranks begin together."
    )
    if not gpu:
        text += " This is a smoke run of the code and of the model, not a measure of what sharing gains on GPUs."
    if not gpu and max(map(int, worlds)) > machine["cores"]:
        text += (
            f" **There are more ranks than the {machine['cores']} cores**, so that they share them; the model takes "
            "this into account by the slowdown of a matrix product that all ranks make at once before each step."
        )
    same = sum(one.counted_right for _, kinds in rows for one in kinds.values())
    equal = (
        f"The collectives that rank 0 made are those that the model counts, by kind, ranks and bytes, in {same} "
        f"of {2 * len(rows)} cases. Degree 1 gives the model its rates: FLOP/s by its evaluated step, the time of a "
        "launch by its forecast step. The slowdown is against degree 1: below 1 where more of the cores were busy with "
        "something else then. Measured shares include waiting for the slowest rank."
    )
    return [
        f"## Measured: {machine['device']}",
        text,
        table(
            ("ranks", "copy of each, GB/s", "exchange", "gather", "date", "cores busy elsewhere"),
            [_micro(number, world) for number, world in worlds.items()],
        ),
        *(
            part
            for kind in ("evaluated", "forecast")
            for part in (f"### {kind.capitalize()} steps", _steps(kind, rows))
        ),
        equal,
    ]


def _micro(number: str, world: dict[str, Any]) -> tuple[str, ...]:
    micro = world["micro"]
    ((moved, seconds),) = micro["copy"]
    lines = []
    for kind in ("exchange", "gather"):
        line = fit_line(*zip(*micro[kind], strict=True)) if micro[kind] else None
        lines.append(f"{1e6 * line.latency:.0f} us + bytes / {line.bandwidth / 1e9:.2f} GB/s" if line else "")
    busy = f"{world['cores_busy_elsewhere']:.1f}"
    return number, f"{moved / seconds / 1e9:.1f}", *lines, world["date"], busy


def _steps(kind: str, rows: list[tuple[dict[str, Any], dict[str, Checked]]]) -> str:
    order = sorted(rows, key=lambda row: (row[0]["model"], Degrees(**row[0]["degrees"]).size))
    lines = []
    for run, kinds in order:
        one, degrees = kinds[kind], Degrees(**run["degrees"])
        predicted, deviation = "gives the rates", ""
        if one.predicted is not None:
            predicted = f"{1e3 * one.predicted:.1f}"
            deviation = f"{100 * (one.predicted / one.measured - 1):+.0f} %"
        lines.append(
            (
                TITLES[run["model"]],
                _name(degrees),
                str(degrees.size),
                f"{1e3 * one.measured:.1f}",
                predicted,
                deviation,
                f"{one.slowdown:.2f}",
                f"{100 * one.measured_share:.0f} %",
                f"{100 * one.predicted_share:.0f} %",
                str(one.step.collectives),
                f"{one.step.sent / 1e6:.2f}",
                f"{run['history_bytes'] / 1e6:.1f}",
            )
        )
    header = ("model", "degrees", "ranks", "ms measured", "ms predicted", "deviation", "slowdown", "collectives' share")
    return table((*header, "predicted", "collectives", "MB sent a rank", "history, MB a rank"), lines)


def _clips(clips: list[dict[str, Any]], assumed: Assumptions) -> list[str]:
    parts = [
        "## The model: clips at 1280x720 on GPUs",
        f"**Assumed, not measured**: {assumed.tflops:g} TFLOP/s sustained by a GPU of the H100/H200 class in bf16, "
        f"{assumed.memory:g} GB/s of memory, {assumed.launch:g} us to launch an operation, {assumed.link:g} GB/s that "
        f"a GPU sends within its node of {assumed.node}, {assumed.network:g} GB/s to other nodes, {assumed.latency:g} "
        f"us a collective. Each is an option: `{COMMAND} --render --tflops 300`. The clip is the "
        f"denoising of {STEPS} steps, all evaluated and with Spectrum's default schedule ({EVALUATED} evaluated). The "
        "last column is the same with half of the GPUs on another node.",
        CHOICE,
    ]
    for name, frames in dict.fromkeys((one["model"], one["frames"]) for one in clips):
        rows = [_clip(one, assumed) for one in clips if (one["model"], one["frames"]) == (name, frames)]
        header = ("degrees", "GPUs", "s an evaluated step", "of it messages", "ms a forecast step", "of it messages")
        more = ("s a clip, plain", "s with Spectrum", "GPU-minutes", "history, GB a GPU", "s on two nodes")
        parts += [f"### {TITLES[name]}, {frames} frames", table((*header, *more), rows)]
    return [*parts, LEFT_OUT]


def _clip(counted: dict[str, Any], assumed: Assumptions) -> tuple[str, ...]:
    degrees, one = Degrees(**counted["degrees"]), clip(counted, assumed)
    return (
        _name(degrees),
        str(degrees.size),
        f"{one.evaluated:.2f}",
        f"{100 * one.evaluated_share:.1f} %",
        f"{1e3 * one.forecast:.1f}",
        f"{100 * one.forecast_share:.1f} %",
        f"{one.plain:.0f}",
        f"{one.spectrum:.1f}",
        f"{degrees.size * one.spectrum / 60:.2f}",
        f"{counted['history_bytes'] / 1e9:.1f}",
        "" if one.apart is None else f"{one.apart:.1f}",
    )


def _name(degrees: Degrees) -> str:
    return " ".join(f"{name}={value}" for name, value in degrees.shared.items()) or "none"
