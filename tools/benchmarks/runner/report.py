"""The measurements as a page of tables, each number beside what was aimed at."""

from typing import Any

from tools.benchmarks.common.machine import versions
from tools.benchmarks.common.table import table

COMMAND = "python -m tools.benchmarks.runner"

PLAN_SECONDS, PLAN_MB, UNFINISHED_SECONDS, WAITED = 5.0, 500.0, 2.0, 0.02  # the aims


def render(report: dict[str, Any]) -> str:
    """Return everything that was measured as Markdown."""
    machine, sections = report["machine"], report["sections"]
    parts = [
        "# How fast the runner is",
        f"Made by `{COMMAND}`; the same numbers for programs are in `runner.json`. Seconds and rates "
        "are medians of repeats in which the candidates take turns, and ratios are taken within a turn.",
        table(
            ("machine", ""),
            [
                ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
                ("memory", f"{machine['memory_gib']} GiB"),
                ("file system", machine["file_system"]),
                ("system", machine["system"]),
                ("Python", machine["python"]),
                ("libraries", versions(machine)),
            ],
        ),
    ]
    for name, show in (("plan", _plan), ("writer", _writer), ("overlap", _overlap)):
        if name in sections:
            parts += [*show(sections[name]), _made(sections[name], machine["cores"])]
    return "\n\n".join(parts) + "\n"


def _made(section: dict[str, Any], cores: int) -> str:
    note = f" {section['note']}" if section.get("note") else ""
    return (
        f"Measured on {section['date']} with `{section['command']}` in {section['seconds']:.0f} s; other processes "
        f"kept {section['cores_busy_elsewhere']:.1f} of the {cores} cores busy meanwhile.{note}"
    )


def _plan(section: dict[str, Any]) -> list[str]:
    found, commands = section["unfinished"], section["commands"]
    rows = []
    for file in section["files"]:
        what = f"plan {section['prompts']:,} prompts into {section['shards']:,} shards: "
        what += f".{file['format']} of {file['file_mb']:.0f} MB, `algo={file['algo']}`"
        seconds = f"{file['plan_seconds']:.2f} s ({file['plan_cpu_seconds']:.2f} s of a core)"
        packed = f"{file['hand_over_seconds']:.2f} s, peak {file['hand_over_peak_mb']:.0f} MB"
        rows += [
            (what, seconds, f"under {PLAN_SECONDS:.0f} s"),
            ("... peak memory of that process", f"{file['peak_mb']:.0f} MB", f"under {PLAN_MB:.0f} MB"),
            (f"... walk the batches of {file['walked_samples']} samples", f"{file['walk_seconds'] * 1000:.0f} ms", ""),
            (f"... pack the plan for a worker process ({file['hand_over_mb']:.0f} MB)", packed, ""),
        ]
    of = f"{section['shards']:,} shards, {found['done']:,} of them done"
    rows += [
        (
            f"find what is unfinished of {of}",
            f"{found['unfinished_seconds']:.3f} s",
            f"under {UNFINISHED_SECONDS:.0f} s",
        ),
        ("... and read its status", f"{found['status_seconds']:.2f} s", ""),
        ("`python -m jobs.report.status` on it, whole process", f"{commands['status']:.2f} s", ""),
        ("`python -m jobs.generate`, imports only", f"{commands['imports']:.2f} s", ""),
        ("... until a misspelt option is refused", f"{commands['refusal']:.2f} s", ""),
        ("... on a finished run of 4 samples", f"{commands['nothing_to_do']:.2f} s", ""),
    ]
    return ["## Planning and finding what is left", table(("", "measured", "aim"), rows)]


def _writer(section: dict[str, Any]) -> list[str]:
    parts = [
        "## Writing",
        "Every candidate writes the same samples, whose pictures are ready random bytes. The runner's path hashes "
        "each picture and each sample, hashes the whole tar as it is written and again as it is read back from the "
        "disk, and fsyncs; the others only write, and `ShardWriter` leaves its bytes to the page cache. One of these "
        f"four SHA-256 passes takes a core {section['sha256_seconds_per_gb']:.2f} s a GB here. Aim: a ratio of 1.",
    ]
    for picture in section["pictures"]:
        parts.append(
            f"{picture['samples']:,} samples with a {picture['extension']} of {picture['picture_bytes']:,} bytes, "
            f"{picture['bytes'] / 1e6:.0f} MB in {picture['shards']} tars, {section['repeats']} repeats:"
        )
        rows = [
            (
                one["name"],
                f"{one['mb_per_second']:.0f}",
                f"{one['ratio']:.2f}",
                f"{one['cpu_seconds_per_gb']:.2f}",
                f"{one['mb_per_second'] * 1e6 / picture['picture_bytes']:.0f}",
            )
            for one in picture["candidates"]
        ]
        parts.append(table(("", "MB/s", "ratio to ShardWriter", "core seconds a GB", "pictures/s"), rows))
    return parts


def _overlap(section: dict[str, Any]) -> list[str]:
    rows = [
        (
            row["format"],
            f"{row['picture_bytes'] / 1e6:.2f} MB",
            f"{row['encode_cpu_seconds'] * 1000:.0f} ms",
            f"{row['encode_cpu_seconds'] * section['batch'] / section['seconds_per_batch']:.2f}",
            f"{100 * row['waited_share']:.2f} %",
            f"{100 * row['idle_share']:.2f} %",
        )
        for row in section["formats"]
    ]
    parts = [
        "## What the generator waits for",
        f"Generator: {section['generator']}, {section['seconds_per_batch']:g} s for a batch of {section['batch']} "
        f"pictures of {section['side']} x {section['side']}; {section['shards']} shards of {section['shard_size']} "
        f"samples; {section['encoders']} encoder threads. "
        "The last column also counts opening shards, and the end of the run, when the last pictures are still being "
        f"encoded and published and no generation is left to hide that behind. Aim for the share waited: under "
        f"{100 * WAITED:.0f} %.",
        table(("format", "a picture", "encoding one", "cores that takes", "generator waited", "generator idle"), rows),
    ]
    if model := section.get("embedded_model"):
        if "error" in model:
            parts.append(f"The embedded model could not be measured: {model['error']}")
        else:
            parts.append(
                f"The embedded model on the CPU (`python -m jobs.generate`, {model['samples']} samples in "
                f"{model['seconds']:.0f} s, start-up included): the generator waited "
                f"{100 * model['waited_share']:.2f} % of the time."
            )
    return parts
