"""The results as a page."""

from typing import Any

from tools.benchmarks.common.machine import versions
from tools.benchmarks.common.table import table

COMMAND = "python -m tools.benchmarks.scale"


def render(results: dict[str, Any]) -> str:
    """Return the page's text.

    Args:
        results: as ``tools.benchmarks.scale.measure`` returns them, and the machine.
    """
    machine, wait = results["machine"], results["wait"]
    rows = [
        ["submit them all (`wait=false`)", spent(results["submit"]), "under 20 s"],
        ["... peak memory", peak(results["submit"]), ""],
        ["... files of the launch", f"{results['launch_bytes'] / 1e6:.2f} MB in {results['launch_files']} files", ""],
        ["the same command again: sees them queued", spent(results["again"]), ""],
        ["`jobs.status`, all of them pending", spent(results["status"]), "under 2 s"],
        ["`jobs.status`, all of them done", spent(results["status_done"]), "under 2 s"],
        ["... peak memory", peak(results["status_done"]), "under 300 MB"],
        [f"the waiting command, for {wait['seconds']:.0f} s", f"{100 * wait['share']:.2f} % of a core", "under 2 %"],
        ["... the `squeue` that it calls", f"{100 * wait['share_of_children']:.2f} % of a core", ""],
        ["... memory", f"{wait['mb']:.0f} MB", ""],
        ["`jobs.cancel`", spent(results["cancel"]), ""],
    ]
    about = [
        ["processor", f"{machine['cpu']}, {machine['cores']} cores"],
        ["memory", f"{machine['memory_gib']} GiB"],
        ["system", f"{machine['system']}, Python {machine['python']}, {versions(machine)}"],
        ["other work on it", f"{results['cores_busy_elsewhere']} cores busy elsewhere, and Slurm's own among them"],
        ["queue", f"Slurm of tools.slurm: {results['queued']:,} tasks in {results['arrays']} arrays"],
    ]
    said = (
        f"Made by `{COMMAND}`; the same numbers for programs are in `scale.json`. Each shard is one task that may "
        "begin only hours later: what is measured is the runner's own. The last one waits, since Slurm takes one job "
        "fewer than MaxJobCount. Times are those of whole commands, with "
        "Python's start and Slurm's programs. Where all shards are done, the benchmark has written their records."
    )
    return f"""# A launch of {results["shards"]:,} tasks

{said}

{table(["machine", ""], about)}

{table(["", "measured", "aim"], rows)}
"""


def spent(times: dict[str, float]) -> str:
    """``3.1 s (2.0 s of a core)``."""
    return f"{times['wall']:.1f} s ({times['cpu']:.1f} s of a core)"


def peak(times: dict[str, float]) -> str:
    """``120 MB``."""
    return f"{times['peak_mb']:.0f} MB"
