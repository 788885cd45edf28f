"""A rehearsal in words."""

from jobs.base.disk import human_bytes
from jobs.base.errors import BadInput
from jobs.model.checkpoint import EMBEDDED
from jobs.options.cards import CARDS, RESERVE, Card
from jobs.rehearse.cards import (
    UTILISATION,
    largest_batch,
    memory_of,
    offload_on,
    seconds_on,
    shards_in_a_task,
)
from jobs.rehearse.counting import Work
from jobs.rehearse.rehearsal import Rehearsal, rehearse
from jobs.report.dryrun import finds_count, steps_of
from jobs.run.calibration import calibration_samples
from jobs.run.run import Run


def rehearsed(run: Run) -> list[str]:
    """Return what a dry run says of GPUs: nothing of the embedded models, which need none."""
    if run.checkpoint.path.startswith(EMBEDDED):
        return []
    try:
        return [describe(run, rehearse(run))]
    except BadInput as error:
        return [f"  on a GPU: {error}"]


def describe(run: Run, rehearsal: Rehearsal, *, utilisation: float = UTILISATION, price: float | None = None) -> str:
    """Return lines about memory, work and cards.

    Args:
        run: whose model was rehearsed.
        rehearsal: of its first batch.
        utilisation: share of a card's dense bfloat16 arithmetic that is assumed.
        price: of a GPU-hour, in any currency; None: costs are left out.
    """
    options = run.options
    steps, memory = steps_of(run), memory_of(run, rehearsal, rehearsal.batch)
    size = f"{options.width}x{options.height}" + (f" x {options.num_frames} frames" if run.makes_clips else "")
    lines = [f"{options.model.name} at {size}, a batch of {rehearsal.batch}, counted at real size without weights:"]
    for part in sorted(rehearsal.parts, key=lambda part: -part.bytes):
        lines.append(f"  {part.name:16} {part.parameters / 1e9:7.3f} B parameters {human_bytes(part.bytes):>10}")
    shared = options.parallel.size > 1
    ranks = f" on rank 0 of {options.parallel.size}, which alone has text encoders" if shared else ""
    lines += [
        f"  memory{ranks}: weights {human_bytes(memory.weights)}, denoising {human_bytes(memory.denoising)} "
        f"({human_bytes(memory.history)} of it history), decoding {human_bytes(memory.decoding)}; "
        f"at most {human_bytes(memory.peak)} with everything on the card"
        + (f"; in main memory {human_bytes(memory.main)} of history" if memory.main else ""),
        f"  evaluated step: {_work(rehearsal.evaluated)}; {steps.evaluated} of them"
        + (", as by the window: algo.quality finds how many" if finds_count(run) else ""),
    ]
    if rehearsal.forecast:
        lines.append(f"  forecast step:  {_work(rehearsal.forecast)}; {steps.forecast} of them")
        if rehearsal.growth:
            lines.append(f"    each leaves {human_bytes(rehearsal.growth)} behind: memory grows by the step")
    lines.append(f"  text and decoding: {_flops(rehearsal.encode.flops)} and {_flops(rehearsal.decode.flops)}")
    extra = calibration_samples(run)
    rows = [_on(run, rehearsal, card, utilisation, price) for card in CARDS]
    costs = f"  cost at {price:g} an hour" if price else ""
    lines.append(f"  {'card':15} {'fits':22} {'s a sample':>10} {'GPU-hours':>10} {'shards a task':>14}{costs}")
    lines += rows
    lines.append(
        f"  Assumed: {utilisation:.0%} of a card's dense bfloat16 arithmetic, {1 - RESERVE:.0%} of its memory, half an "
        "hour a task; offloading, the host and what ranks send each other are left out"
        + (f", as is the run's own calibration: {extra} samples with all steps, and their forecasts" if extra else "")
    )
    return "\n".join(lines)


def _on(run: Run, rehearsal: Rehearsal, card: Card, utilisation: float, price: float | None) -> str:
    offload = offload_on(run, rehearsal, card)
    if offload is None:
        return f"  {card.name:15} no"
    if offload != "none":  # of whose speed no data sheet tells
        return f"  {card.name:15} with offload={offload}"
    seconds = seconds_on(run, rehearsal, card, utilisation)
    fits = f"  {card.name:15} {f'batch of {largest_batch(run, rehearsal, card)}':22}"
    if seconds is None:
        return fits.rstrip()
    hours = seconds * run.layout.num_samples * run.options.parallel.size / 3600
    cost = f"  {hours * price:.2f}" if price else ""
    return f"{fits} {seconds:10.3g} {hours:10.3g} {shards_in_a_task(run, seconds):14}{cost}"


def _work(work: Work) -> str:
    waits = f", {len(work.waits)} host synchronisations ({', '.join(sorted({*work.waits}))})" if work.waits else ""
    return f"{work.operations} operations, {_flops(work.flops)}{waits}"


def _flops(flops: int) -> str:
    return f"{flops / 1e12:.3g} TFLOP"
