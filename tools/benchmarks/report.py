"""Measure the report of a run: ``python -m tools.benchmarks.report``.

Builds it in a process of its own, and opens it in a real browser (Chromium), of runs of pictures and of clips. Results
are kept in ``report.json``; ``report.md`` shows them.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jobs.options.compose import compose_options
from jobs.run.open import create, open_run
from jobs.run.run import Run
from jobs.store.atomic import write_bytes, write_json
from jobs.store.attempt import Attempt
from jobs.store.writer import Writer
from tools.benchmarks.common.browser import browser
from tools.benchmarks.common.command import new_parser, read_results
from tools.benchmarks.common.machine import describe, versions
from tools.benchmarks.common.table import table
from tools.benchmarks.common.timing import watched
from tools.benchmarks.export.runs import COMMON, HOW

COMMAND = "python -m tools.benchmarks.report"
SHARDS = 100
REPEATS = 3
_KINDS = 64  # different pictures; samples are shifts of them
_BUILD = """import sys
from pathlib import Path
from jobs.report.page.build import make_report
from jobs.store.rundir import RunDir
from tools.benchmarks.common.memory import peak_mb
print(make_report(RunDir(Path(sys.argv[1]))).stat().st_size, peak_mb())"""
# Since the navigation began, until the first page of the gallery has its pictures.
_DRAWN = """Promise.all([...document.querySelectorAll('#cards img')].map(one => one.decode()))
    .then(() => performance.now())"""
_ABOUT = f"""Runs of soft random pictures in up to {SHARDS} shards. Building is a whole process, start of Python and
libraries included; processor time is that of all its threads, and says more where other processes keep the cores busy.
Opening is from the beginning of the navigation, from a file, in a browser that has just started, until the first 60
pictures are decoded. The aims for 10,000 small samples are 20 s and 2 s."""


@dataclass(frozen=True)
class Case:
    """A run of soft random pictures, or of clips where it has several frames."""

    samples: int
    height: int
    width: int
    kind: str
    frames: int = 1

    @property
    def words(self) -> str:
        """What it is, for the page."""
        clip = f", {self.frames} frames" if self.frames > 1 else ""
        return f"{self.samples:,} {self.kind} of {self.width}x{self.height}{clip}"


CASES: tuple[Case, ...] = (
    Case(10_000, 64, 64, "png"),
    Case(10_000, 256, 256, "jpg"),
    Case(1_000, 1024, 1024, "png"),
    Case(100, 272, 480, "mp4", 33),
)


def main(arguments: list[str] | None = None) -> int:
    """Measure every case and write file and page."""
    parser = new_parser(COMMAND, __doc__)
    parser.add_argument("--scratch", type=Path, help="a directory on the disk to measure; default: a temporary one")
    parser.add_argument("--note", default="", help="a sentence on the circumstances, for the page")
    parser.add_argument("--quick", action="store_true", help="tiny runs: only to see that it works")
    options = parser.parse_args(arguments)
    target = options.out / "report.json"
    if options.render:
        write_bytes(target.with_suffix(".md"), render(read_results(parser, target)).encode())
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    cases, repeats = CASES, REPEATS
    if options.quick:
        cases, repeats = tuple(replace(one, samples=6, height=64, width=64) for one in CASES[::3]), 1
    with tempfile.TemporaryDirectory(prefix="bench-report-", dir=options.scratch) as folder:
        report: dict[str, Any] = {
            "machine": describe(Path(folder)),
            "note": options.note,
            "repeats": repeats,
            "cases": [],
        }
        with watched(report):
            for number, case in enumerate(cases):
                print(f"measuring: {case.words}", file=sys.stderr)
                scratch = Path(folder) / str(number)
                scratch.mkdir()
                report["cases"].append({**asdict(case), "words": case.words, **measure(scratch, case, repeats)})
    write_json(target, report)
    write_bytes(target.with_suffix(".md"), render(report).encode())
    print(target.with_suffix(".md"))
    return 0


def measure(folder: Path, case: Case, repeats: int) -> dict[str, Any]:
    """Make a run, build its report and open that, each several times; medians."""
    run = make_run(folder, case)
    built, opened = [], []
    for repeat in range(repeats):
        start, before = time.perf_counter(), os.times()
        words = [sys.executable, "-c", _BUILD, str(run.directory.path)]
        size, peak = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        after = os.times()
        processor = after.children_user + after.children_system - before.children_user - before.children_system
        built.append((time.perf_counter() - start, processor))
        with browser(folder / f"browser-{repeat}") as begin:
            page = begin()
            page.open((run.directory.path / "report.html").as_uri())
            opened.append(page.run(_DRAWN) / 1000)
    seconds, work = (statistics.median(one) for one in zip(*built, strict=True))
    return {
        **{"seconds": seconds, "processor_seconds": work, "peak_mb": float(peak), "bytes": int(size)},
        "open_seconds": statistics.median(opened),
    }


def make_run(folder: Path, case: Case) -> Run:
    """Make a finished run of a case."""
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join(f"a photograph of thing {number} in the evening" for number in range(case.samples)))
    own = ["model=demo-video", f"num_frames={case.frames}"] if case.frames > 1 else [f"image_format={case.kind}"]
    options = (f"output_base_path={folder}", "exp_name=run", f"prompt_file={prompts}", "device=cpu", *own)
    sizes = (f"height={case.height}", f"width={case.width}", f"shard_size={-(-case.samples // SHARDS)}")
    run = open_run(compose_options([*options, *sizes]))
    create(run)
    dice = np.random.default_rng(0)
    coarse = (dice.integers(0, 256, (24, 24, 3), dtype=np.uint8) for _ in range(min(_KINDS, case.samples)))
    soft = Image.Resampling.BICUBIC
    pictures = [np.asarray(Image.fromarray(one).resize((case.width, case.height), soft)) for one in coarse]
    common = {**COMMON, "run": run.name, "run_id": run.id}
    writer = Writer(run.layout, run.media, common, sample_attempts=1, in_flight=8, report=lambda *event: None)
    for shard in range(run.layout.num_shards):
        attempt = Attempt(run.directory, shard, fingerprint="noise", device="cpu", log="")
        writer.start(attempt)
        for index in run.layout.shard_range(shard):
            shifted = [np.roll(pictures[index % len(pictures)], index + frame, 0) for frame in range(case.frames)]
            media = np.stack(shifted) if case.frames > 1 else shifted[0]
            writer.add(attempt, run.layout.sample(index), media, HOW, 0.01 * (1 + index % 7))
        writer.finish(attempt)
    writer.close()
    return run


def render(report: dict[str, Any]) -> str:
    """Return the page."""
    machine = report["machine"]
    about = [
        ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
        ("file system", machine["file_system"]),
        ("Python", machine["python"]),
        ("libraries", versions(machine)),
    ]
    rows = [
        (
            one["words"],
            f"{one['seconds']:.1f} s",
            f"{one['processor_seconds']:.1f} s",
            f"{one['peak_mb']:.0f} MB",
            f"{one['bytes'] / 1e6:.1f} MB",
            f"{one['open_seconds']:.2f} s",
        )
        for one in report["cases"]
    ]
    note = f" {report['note']}" if report["note"] else ""
    parts = [
        "# How long a report takes",
        f"Made by `{COMMAND}`; the same numbers for programs are in `report.json`.",
        table(("machine", ""), about),
        " ".join([*_ABOUT.split(), f"Medians of {report['repeats']}."]),
        table(("run", "building", "processor time", "peak memory", "page", "opening"), rows),
        f"Measured on {report['date']} in {report['seconds']:.0f} s; other processes kept "
        f"{report['cores_busy_elsewhere']} of the cores busy meanwhile.{note}",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
