"""``dry_run=true``: what a run would do and take, before anything is loaded, made or launched."""

from jobs.algo import forecasting
from jobs.options import Options
from jobs.parallel.degrees import Size
from jobs.prepare import Prepared

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def describe(prepared: Prepared) -> str:
    """A few lines about a run: its samples, its denoising steps, the memory of its features, its weights."""
    options, plan = prepared.options, prepared.plan
    clip = f", {options.num_frames} frames at {options.model['fps']} a second" if options.makes_clips else ""
    left = len(prepared.unfinished())
    lines = [
        f"{prepared.run.path}: {plan.num_samples} samples of {options.width}x{options.height}{clip}, "
        f"{plan.num_shards} shards, {left} to make",
        *_steps(options),
    ]
    if options.parallel.size > 1:
        lines.append(f"  ranks: {options.parallel.size} share each batch ({options.parallel})")
    own = sorted(plan.table.settings.keys() & {"height", "width", "num_frames", "num_inference_steps"})
    if own:
        lines.append(f"  {plan.table.path} sets {', '.join(own)} for single prompts; the above is for the others")
    return "\n".join([*lines, f"  weights: {_weights(options)}"])


def _steps(options: Options) -> list[str]:
    n = options.num_inference_steps
    if options.algo["name"] == "nocache":
        return [f"  steps: all {n} evaluated (algo=nocache)"]
    plan = forecasting(options.algo, options.model, options.weights.folder).plan(n)
    count = len(plan.evaluated)
    size, place = history_bytes(options, len(plan.rows)), options.algo.get("history_device") or "where the denoiser is"
    each = " on each rank" if options.parallel.size > 1 else ""
    return [
        f"  steps: {count} of {n} evaluated: {' '.join(map(str, plan.evaluated))}",
        f"  speed: at most {n / count:.2f}x of denoising every step",
        f"  history: {_human(size)}{each} for a batch of {options.batch_size} ({place}), "
        "freed when its last step is taken",
    ]


def history_bytes(options: Options, rows: int) -> int:
    """Bytes of the features that a rank keeps while a batch is denoised, all its guidance branches together.

    Args:
        options: size, batch and model.
        rows: evaluated steps whose features are kept.
    """
    feature, degrees = options.model["feature"], options.parallel
    positions = Size(options.height, options.width, options.num_frames).tokens(feature) // degrees.sequence
    # Guidance by a negative prompt computes everything twice, in one call or in two.
    branches = 2 // degrees.cfg if options.model["negative_prompts"] and options.guidance_scale > 1 else 1
    return rows * options.batch_size * branches * positions * feature["channels"] * BYTES[options.model["dtype"]]


def _weights(options: Options) -> str:
    if options.weights.folder is None:
        return f"{options.weights.path} is not downloaded yet: {options.weights.download_command}"
    return f"{options.weights.path}, revision {options.weights.revision}"


def _human(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
