"""``dry_run=true``: what a run would do and take, before anything is loaded, made or launched."""

from dataclasses import dataclass

from jobs.base.disk import human_bytes
from jobs.base.errors import BadInput
from jobs.options.degrees import Degrees
from jobs.parallel.limits import Size, features_bytes
from jobs.run.run import Run

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def describe(run: Run) -> str:
    """Return a few lines about a run: its samples, its denoising steps, the memory of its histories, its checkpoint."""
    options, layout = run.options, run.layout
    clip = f", {options.num_frames} frames at {options.model.fps} a second" if run.makes_clips else ""
    left = len(run.unfinished())
    lines = [
        f"{run.directory.name}: {layout.num_samples} samples of {options.width}x{options.height}{clip}, "
        f"{layout.num_shards} shards, {left} to make",
        *_steps(run),
    ]
    if options.parallel.size > 1:
        lines.append(f"  ranks: {options.parallel.size} share each batch ({options.parallel})")
    own = sorted(layout.table.settings.keys() - {"seed", "id", "negative_prompt", "guidance_scale"})
    if own:
        lines.append(f"  {layout.table.path} sets {', '.join(own)} for single prompts; the above is for the others")
    return "\n".join([*lines, f"  checkpoint: {_checkpoint(run)}"])


@dataclass(frozen=True)
class Steps:
    """How many steps of a sample are evaluated and forecast, and of how many evaluated ones something is kept."""

    evaluated: int
    forecast: int
    rows: int


def steps_of(run: Run) -> Steps:
    """Return what the run's step plan does, or will do once its calibration is made."""
    n = run.options.num_inference_steps
    if run.forecast is None:
        return Steps(n, 0, 0)
    if run.forecast.pending and run.forecast.searched:
        count = run.forecast.count(n)
        return Steps(count, n - count, count)
    plan = run.forecast.plan(n)
    return Steps(len(plan.evaluated), len(plan.forecast), len(plan.rows))


def finds_count(run: Run) -> bool:
    """Return whether the run has still to find how many steps are evaluated: until then the window's count stands."""
    forecast = run.forecast
    return bool(forecast and forecast.pending and forecast.automatic and forecast.automatic.quality is not None)


def _steps(run: Run) -> list[str]:
    n = run.options.num_inference_steps
    if run.forecast is None:
        return [f"  steps: all {n} evaluated (algo=nocache)"]
    steps = steps_of(run)
    evaluated = f"{steps.evaluated} of {n} evaluated: {' '.join(map(str, run.forecast.plan(n).evaluated))}"
    if run.forecast.pending and run.forecast.searched:
        evaluated = f"{steps.evaluated} of {n} evaluated, those that the run's own calibration finds best"
    if finds_count(run):
        evaluated = (
            f"the fewest of {n} evaluated that reach algo.quality={run.options.algo.quality:g}, which the run's own "
            f"calibration finds; what follows is for {steps.evaluated}"
        )
    size, place = history_bytes(run, steps.rows), run.forecast.config.history_device or "where the denoiser is"
    each = " on each rank" if run.options.parallel.size > 1 else ""
    return [
        f"  steps: {evaluated}",
        f"  speed: at most {n / steps.evaluated:.2f}x of denoising every step",
        f"  history: {human_bytes(size)}{each} for a batch of {run.options.batch_size} ({place}), "
        "freed when its last step is taken",
    ]


def history_bytes(run: Run, rows: int) -> int:
    """Return the bytes of what a rank keeps to forecast from while a batch is denoised, all guidance branches together.

    Args:
        run: its size, batch, model and target.
        rows: evaluated steps of which something is kept.
    """
    options, feature = run.options, run.options.model.feature
    positions = Size(options.height, options.width, options.num_frames).tokens(feature)
    # Guidance by a negative prompt computes everything twice, in one call or in two.
    branches = 2 if options.model.negative_prompts and options.guidance_scale > 1 else 1
    itemsize, whole = _BYTES[options.model.dtype], options.batch_size * positions
    if run.forecast and run.forecast.target == "output":  # ranks have it whole
        return features_bytes(whole * feature.output, branches, rows, itemsize, Degrees())
    return features_bytes(whole * feature.channels, branches, rows, itemsize, options.parallel)


def _checkpoint(run: Run) -> str:
    if run.checkpoint.folder is None:
        return f"{run.checkpoint.path} is not downloaded yet: {run.checkpoint.download_command}"
    try:
        run.checkpoint.check()
    except BadInput as error:
        return f"not usable as it is: {error}"
    return f"{run.checkpoint.path}, revision {run.checkpoint.pin}"
