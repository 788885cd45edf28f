"""Options that do nothing beside others: worth a warning, since whoever gave one expects something of it."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from jobs.model.forecast import FORM
from jobs.options.fields import shown
from jobs.options.schema import SCHEDULE
from jobs.run.run import Run


def idle_options(run: Run) -> list[str]:
    """Return a warning for each option that is not as it is by default, and has no effect in this run."""
    warnings = []
    for name, reason in _idle(run):
        value, usual = _value_and_default(run.options, name)
        if value != usual:
            warnings.append(f"{name}={value if isinstance(value, str) else shown(value)} does nothing {reason}")
    return warnings + [warning for warning in (_more_than_all(run),) if warning]


def _idle(run: Run) -> Iterator[tuple[str, str]]:
    """Yield each option that has no effect here, whether it was given or not, and where that comes from."""
    options, model = run.options, run.options.model
    if options.audit_every is None:
        yield "audit_floor", "without audit_every"
    if not model.loras:
        yield "model.fuse_loras", "without model.loras"
    if options.container.image is None:
        yield from ((f"container.{name}", "without container.image") for name in ("runtime", "mounts", "python"))
    if options.parallel.size == 1:
        reason = "where no ranks share samples (parallel.ulysses, ring and cfg are 1)"
        yield from ((name, reason) for name in ("rank_interface", "rank_ports"))
    if model.fps is None:
        yield from ((name, "to pictures") for name in ("video_crf", "video_keyframes"))
    else:
        yield from ((name, "to clips, which are mp4") for name in ("image_format", "image_quality"))
    if model.fps is None and options.image_format == "png":
        yield "image_quality", "with image_format=png, which keeps every pixel as it is"
    if run.forecast is None:
        yield from ((name, "with algo=nocache") for name in SCHEDULE)
    elif (rule := run.forecast.rule) and rule.fits(options.num_inference_steps or 0):
        yield from ((f"algo.{name}", "with calibrated coefficients") for name in FORM)
        if run.forecast.searched and run.forecast.evaluations:
            yield from ((name, "with algo.evaluations, so many of which are searched") for name in SCHEDULE)


def _value_and_default(options: Any, name: str) -> tuple[Any, Any]:
    first, _, rest = name.partition(".")
    if rest:
        return _value_and_default(getattr(options, first), rest)
    (field,) = (one for one in fields(options) if one.name == first)
    return getattr(options, first), field.default


def _more_than_all(run: Run) -> str | None:
    """Return a warning that more steps are to be evaluated than samples have; None where they are not."""
    own = run.layout.table.settings.get("num_inference_steps", [])
    steps = min(filter(None, (run.options.num_inference_steps, *own)))
    count = run.forecast.evaluations if run.forecast else None
    if count is None or count <= steps:
        return None
    return f"algo.evaluations={count} is more than the {steps} denoising steps of a sample: each of them is evaluated"
