"""All machines' results as a page of tables, beside what was aimed at."""

from collections.abc import Sequence
from typing import Any

from tools.benchmarks.common.catalog import MODELS
from tools.benchmarks.common.machine import versions
from tools.benchmarks.common.methods import KINDS, expand
from tools.benchmarks.common.table import table
from tools.benchmarks.speed.measure import OWN
from tools.benchmarks.speed.operations import TARGETS
from tools.benchmarks.speed.results import conditions_said

COMMAND = "python -m tools.benchmarks.speed"
H200 = "NVIDIA H200"
STEPS = 50
COPY_RATIO = 1.5  # aim, CPU
# model, method, what, aim, its unit; at the real size and 50 steps on one H200
AIMS = (
    ("flux", "spectrum-3", "speedup", 4.9, "x"),
    ("flux", "spectrum-0.75", "speedup", 3.5, "x"),
    ("flux", "spectrum-3", "forecast_share", 1.5, " %"),
    ("flux", "spectrum-0.75", "forecast_share", 1.5, " %"),
    ("wan", "spectrum-3", "speedup", 4.85, "x"),
)
Entry = dict[str, Any]  # one table: its head, and rows by method


def render(machines: Sequence[dict[str, Any]]) -> str:
    """Return the results of all machines as Markdown."""
    h200 = next((one for one in machines if one["machine"]["device"] == H200), None)
    parts = [
        "# How fast denoising is",
        f"Made by `{COMMAND}`; the same numbers for programs are in `speed-*.json` beside this page. "
        "Denoisers of public models' configs with random weights (speed does not depend on what the weights are) run "
        "in diffusers' own pipelines, from embeddings to latents, without text encoder and VAE. Every method runs in "
        "turn, seconds and milliseconds are medians over the turns, and speedups are medians of ratios within a turn; "
        "plain is measured anew in every call of the program, and a row's speedup is over plain of its own call.",
        _aims(h200),
        "## How each method was set up",
        "\n".join(f"- {kind.title}: {kind.note}" for kind in KINDS.values()),
        "An evaluation is a call of the denoiser that reached its last block, counted as it happened; `28 of 100` "
        "means 100 calls, two a step. The limit of a speedup is calls / evaluations; `by its steps` is what the median "
        "forecast step leaves of it beside the median full step of the same calls, which other processes disturb less "
        "than the ratio of two calls. Nothing can have more than 100 % of it: what does is "
        "marked as noise, and the other rows of its table are no surer. A full step is one with "
        "evaluations, a forecast step one without; both are whole steps of the pipeline's loop, scheduler included. "
        "The history is what Spectrum keeps of evaluated steps. "
        "Times that have a * are those of fewer steps, prolonged by the median step: there was no time for all of "
        "them, and plain steps are all alike.",
    ]
    for results in machines:
        parts += _machine(results)
    return "\n\n".join(parts) + "\n"


def _aims(results: dict[str, Any] | None) -> str:
    tables = results["tables"].values() if results else ()
    rows = []
    for model, method, what, aim, unit in AIMS:
        row: dict[str, Any] = next((t["rows"].get(method, {}) for t in tables if _is_full(t, model)), {})
        value = _share(row) if what == "forecast_share" else row.get(what)
        if what == "forecast_share":
            name, wanted = "a forecast step beside a full one", f"under {aim:g}{unit}"
        else:
            name, wanted = "speedup over plain", f"at least {aim:g}{unit}"
        evaluations = len(expand([method])[1].schedule(STEPS).evaluated)
        measured = "not measured yet" if value is None else f"{value:.2f}{unit}"
        rows.append((MODELS[model].title, f"{evaluations} of {STEPS} steps evaluated", name, wanted, measured))
    return "## Aims on one H200\n\n" + table(("model", "plan", "what", "aim", "measured"), rows)


def _is_full(entry: Entry, model: str) -> bool:
    return entry["model"] == model and entry["scale"] == 1 and entry["steps"] == STEPS and not conditions_said(entry)


def _machine(results: dict[str, Any]) -> list[str]:
    machine, settings = results["machine"], results["machine"]["settings"]
    clock = {
        "wall": "Times are wall-clock times.",
        "processor": "Times are CPU seconds of one thread: other processes disturb these less than wall-clock time.",
    }
    parts = [
        f"## {machine['device']}",
        f"{machine['memory_gib']:g} GiB of memory; host with {machine['cores']} cores, torch uses "
        f"{machine['threads']} of them. Python {machine['python']}, {versions(machine)}. Torch's defaults: "
        f"{settings['attention']}; "
        f"`float32_matmul_precision` {settings['float32_matmul_precision']}, cuDNN TF32 "
        f"{'on' if settings['cudnn_tf32'] else 'off'}. {clock[settings['clock']]}",
    ]
    order = list(MODELS)
    for entry in sorted(results["tables"].values(), key=lambda entry: order.index(entry["model"])):
        parts += _model(entry, machine["cores"])
    if results["forecasts"]:
        parts += _forecasts(results["forecasts"].values())
    if results.get("parts"):
        parts += _parts(sorted(results["parts"].values(), key=lambda entry: order.index(entry["model"])))
    if results.get("operations"):
        parts += _operations(sorted(results["operations"].values(), key=lambda row: order.index(row["model"])))
    return parts


def _model(entry: Entry, cores: int) -> list[str]:
    model, rows = MODELS[entry["model"]], entry["rows"]
    call = "x".join(str(entry["call"][name]) for name in ("width", "height", "num_frames") if name in entry["call"])
    size = "the real size" if entry["scale"] == 1 else f"**shrunk to scale {entry['scale']:g}, not the real size**"
    text = (
        f"{entry['steps']} steps, {entry['dtype']}{conditions_said(entry)}, {size}: "
        f"{_parameters(entry['parameters'])}, {call}, features of {' x '.join(map(str, entry['feature']))} a sample. "
        f"Config of `{model.source}`. "
    )
    if entry["scale"] < 1:
        text += (
            "Few blocks are left of it: a method that runs one of them on every step (FirstBlockCache, cache-dit) "
            "fares worse here than at the real size. "
        )
    measured = [row for row in rows.values() if "seconds" in row]
    if measured:
        busy = [row["cores_busy_elsewhere"] for row in measured if "cores_busy_elsewhere" in row]
        turns = sorted({len(row["all_seconds"]) for row in measured})
        text += f"Turns: {' or '.join(map(str, turns))}."
        if busy:
            text += f" Other processes kept up to {max(busy):.1f} of the host's {cores} cores busy meanwhile."
    if clocks := entry.get("clocks"):
        text += f" The clock at the end: {clocks['mhz']:g} MHz"
        text += f" of at most {clocks['most_mhz']:g}" if clocks["most_mhz"] else ""
        text += f", at {clocks['watts']:g} W and {clocks['celsius']:g} °C." if "watts" in clocks else "."
    header = ("", "seconds", "speedup", "of the limit", "by its steps", "evaluations", "ms a full step")
    lines = [line for kind in KINDS for line in _kind(kind, rows)]
    return [
        f"### {model.title}{conditions_said(entry)}",
        text,
        table((*header, "ms a forecast step", "forecast / full", "peak memory", "history"), lines),
    ]


def _kind(kind: str, rows: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of one kind of method; one line for both if it cannot run the model."""
    found = {method.flex: rows[method.name] for method in expand([kind]) if method.kind == kind and method.name in rows}
    reasons = {row.get("not_supported") for row in found.values()}
    if found and len(reasons) == 1 and (reason := reasons.pop()):
        found = {"": {"not_supported": reason}}
    title = KINDS[kind].title
    link = ", flex " if kind in OWN else ", as flex "
    return [_row(title + (link + flex if flex else ""), row) for flex, row in found.items()]


def _row(title: str, row: dict[str, Any]) -> tuple[str, ...]:
    if "not_supported" in row:
        return title, f"not supported: {row['not_supported']}", *[""] * 9
    share, by_steps = _share(row), _by_steps(row)
    return (
        title,
        f"{row['seconds']:.2f}" + (f" * ({row['steps_run']} steps)" if "steps_run" in row else ""),
        f"{row['speedup']:.2f}x",
        _of_limit(100 * row["speedup"] * row["evaluated"] / row["calls"]),
        "" if by_steps is None else _of_limit(by_steps),
        f"{row['evaluated']} of {row['calls']}",
        _milliseconds(row["full_ms"]),
        _milliseconds(row["forecast_ms"]),
        "" if share is None else f"{share:.2f} %",
        "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.2f} GB",
        "" if row.get("history_bytes") is None else _memory(row["history_bytes"]),
    )


def _of_limit(percent: float) -> str:
    """Return a share of the limit; nothing can have more, so that more only says how far to trust the others."""
    return f"{percent:.1f} %" + (" (noise)" if percent > 100 else "")


def _share(row: dict[str, Any]) -> float | None:
    """Return a forecast step in percent of a full one."""
    return 100 * row["forecast_ms"] / row["full_ms"] if row.get("full_ms") and row.get("forecast_ms") else None


def _by_steps(row: dict[str, Any]) -> float | None:
    """Return what the median forecast step leaves of the limit, in percent, if full steps take what they do here."""
    share = _share(row)
    return None if share is None else 100 / (1 + (row["calls"] / row["evaluated"] - 1) * share / 100)


def _forecasts(rows: Any) -> list[str]:
    lines = []
    for row in rows:
        what = (
            MODELS[row["model"]].title + ("" if row["scale"] == 1 else f", scale {row['scale']:g}"),
            " x ".join(map(str, row["feature"])),
            str(row["rows"]),
            row["dtype"],
        )
        if "left_out_gb" in row:
            lines.append((*what, f"left out: needs {row['left_out_gb']:.1f} GB", *[""] * 4))
            continue
        rate = row["moved_bytes"] / row["forecast_ms"] / 1e6
        times = (f"{row['forecast_ms']:.2f}", f"{row['copy_ms']:.2f}", f"{rate:.1f}", f"{row['ratio']:.2f}")
        lines.append((*what, *times, f"{row['ratio'] * (row['rows'] + 1) / (2 * row['rows']):.2f}"))
    header = ("model", "feature", "K", "dtype", "ms a forecast", "ms the copy", "GB/s of the forecast", "ratio")
    return [
        "### The forecast alone",
        "The weighted sum over K features of one guidance branch, beside a plain copy that moves as many bytes (the "
        f"forecast reads K features and writes one). Aim on a CPU: a ratio under {COPY_RATIO}. The last column is the "
        "ratio to copying the K features, which reads as much and writes K times as much.",
        table((*header, "to copying K features"), lines),
    ]


def _parts(entries: Any) -> list[str]:
    lines = []
    for entry in entries:
        title = MODELS[entry["model"]].title + ("" if entry["scale"] == 1 else f", scale {entry['scale']:g}")
        title += conditions_said(entry)
        for name, row in entry["rows"].items():
            memory = _memory(row["weights_bytes"])
            lines.append((title, name, row["kind"], entry["dtype"], _milliseconds(1e3 * row["seconds"]), memory))
    return [
        "### Text encoders and autoencoder",
        "What a sample takes beside its denoising (`--parts`): one call of each text encoder with as many tokens as it "
        "takes, and the decoding of the picture or clip, at once. A shrunk encoder has fewer layers of the real width.",
        table(("model", "part", "class", "dtype", "ms", "weights"), lines),
    ]


def _operations(rows: Any) -> list[str]:
    lines = []
    for row in rows:
        title = MODELS[row["model"]].title + ("" if row["scale"] == 1 else f", scale {row['scale']:g}")
        cells = [f"{row['evaluated']:,}"]
        for target in TARGETS:
            cells += [f"{row[target]['denoiser']:,}", str(row[target]["sum"]), _memory(row[target]["history_bytes"])]
        lines.append((title, row["dtype"], str(row["rows"]), *cells))
    header = ["model", "dtype", "K", "evaluated"]
    for target in TARGETS:
        header += [f"denoiser, {target}", f"sum, {target}", f"history, {target}"]
    return [
        "### Operations of a step",
        "What torch is asked to do in all calls of the denoiser in one step of the pipeline, views included, counted "
        "with tensors of the meta device (`--operations`): on an evaluated step; and on a forecast one by the denoiser "
        "and by the weighted sums over K rows, with either target. The history is that of one sample, all guidance "
        "branches together.",
        table(tuple(header), lines),
    ]


def _memory(number: int) -> str:
    return f"{number / 1e9:.3g} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def _parameters(number: int) -> str:
    return f"{number / 1e9:.3g} B parameters" if number >= 1e9 else f"{number / 1e6:.3g} M parameters"


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value >= 100 else f"{value:.2f}"
