"""The page of the export's benchmark."""

from typing import Any

from tools.benchmarks.common.machine import versions
from tools.benchmarks.common.table import table

COMMAND = "python -m tools.benchmarks.export"
_COPY = 0.5, 0.3  # aims: share of the speed of `cp -r`, linked and resharded


def render(report: dict[str, Any]) -> str:
    """Return the page."""
    machine = report["machine"]
    about = [
        ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
        ("file system", machine["file_system"]),
        ("system", machine["system"]),
        ("Python", machine["python"]),
        ("libraries", versions(machine)),
    ]
    parts = [
        "# How fast exports are, and what kills do to them",
        f"Made by `{COMMAND}`; the same numbers for programs are in `export.json`.",
        table(("machine", ""), about),
    ]
    sections = report["sections"]
    if "speed" in sections:
        parts += _speed(sections["speed"])
    if "kills" in sections:
        parts += _kills(sections["kills"])
    return "\n\n".join(parts) + "\n"


def _speed(section: dict[str, Any]) -> list[str]:
    rows = []
    for size in section["pictures"]:
        what = f"{size['picture_bytes'] / 1000:g} KB pictures, {size['bytes'] / 1e6:.0f} MB of tars"
        copied = f"{size['copy_processor_seconds']:.2f} s"
        rows.append((what, "`cp -r`", f"{size['copy_seconds']:.2f} s", copied, "1", "", ""))
        rows.append(("...", "`cp -r`, then fsync of each", f"{size['durable_copy_seconds']:.2f} s", "", "", "1", ""))
        for one in size["exports"]:
            rows.append(
                (
                    "...",
                    f"export, {one['name']} (`{one['options'][0]}`)",
                    f"{one['seconds']:.2f} s",
                    f"{one['processor_seconds']:.2f} s",
                    f"{one['ratio']:.2f}",
                    f"{one['durable_ratio']:.2f}",
                    f"{one['peak_mb']:.0f} MB",
                )
            )
    return [
        "## Speed",
        f"A run of {section['samples']:,} samples in {section['shards']} shards. Each row is a whole process, start of "
        f"Python and libraries included; medians of {section['repeats']} turns. An export reads and hashes every byte, "
        "takes every sample's json apart, and reads back what it writes; `cp` does none of it, and leaves its copy in "
        "memory. Processor time is that of all its threads, and says more where other processes keep the cores busy. "
        f"The aims are {_COPY[0]} of the speed of `cp -r` for linked shards, {_COPY[1]} for new ones, and less "
        "than 500 MB.",
        table(("run", "way", "time", "processor time", "speed / cp", "speed / durable cp", "peak memory"), rows),
        _made(section),
    ]


def _kills(section: dict[str, Any]) -> list[str]:
    rows = [
        (one["name"], str(one["kills"]), str(one["begun"]), f"{one['same']} of {one['exports']}")
        for one in section["forms"]
    ]
    return [
        "## Kills",
        f"Exports of two runs of {section['samples']:,} samples together, whose keys collide (linked: of one of them), "
        "killed (SIGKILL) after random times up to that of a whole export, and begun again by the same command. What "
        "is copied to S3 goes to moto's server on this machine, and is compared there.",
        table(("format", "kills", "of a begun export", "same bytes as never killed"), rows),
        _made(section),
    ]


def _made(section: dict[str, Any]) -> str:
    busy = section["cores_busy_elsewhere"]
    note = f" {section['note']}" if section["note"] else ""
    return (
        f"Measured on {section['date']} with `{section['command']}` in {section['seconds']:.0f} s; other processes "
        f"kept {busy} of the cores busy meanwhile.{note}"
    )
