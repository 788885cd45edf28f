"""What a command says before it begins although it goes on: things that will probably disappoint."""

import re
import sys
from itertools import chain

from jobs.algo import calibration_misfit, read_calibration
from jobs.prepare import Prepared
from jobs.weights import EMBEDDED

SHOWN = 10  # words in a warning


def warn(prepared: Prepared) -> None:
    """Print the warnings there are, a line each, to standard error."""
    for warning in (unknown_words(prepared), unused_calibration(prepared), foreign_calibration(prepared)):
        if warning:
            print(f"warning: {warning}", file=sys.stderr)


def foreign_calibration(prepared: Prepared) -> str | None:
    """A warning that a calibration was made with other weights, as it may be on purpose; None where it was not."""
    options = prepared.options
    if options.algo.get("weights") != "calibrated":
        return None
    path = options.algo["calibration"]
    then = read_calibration(path).source.get("model", {})
    if then.get("revision") in (None, options.weights.revision):
        return None
    return (
        f"algo.calibration {path} was made with model {then['name']}, revision {then['revision']}, and this is "
        f"{options.model['name']}, revision {options.weights.revision}: calibrate this one unless they are close kin"
    )


def unused_calibration(prepared: Prepared) -> str | None:
    """A warning about samples that a calibration was not made for; None where there are none."""
    options, plan = prepared.options, prepared.plan
    if options.algo.get("weights") != "calibrated":
        return None
    path = options.algo["calibration"]
    if misfit := calibration_misfit(options.algo, options.model, options.weights.folder):
        return f"algo.calibration {path} is not used, because {misfit}: forecasts are those of algo.weights=chebyshev"
    known = read_calibration(path).grams
    asked = {options.num_inference_steps, *filter(None, plan.table.settings.get("num_inference_steps", []))}
    if others := sorted(asked - known.keys()):
        return (
            f"algo.calibration {path} was made for {', '.join(map(str, sorted(known)))} steps: samples of "
            f"{', '.join(map(str, others))} are forecast as with algo.weights=chebyshev"
        )
    return None


def unknown_words(prepared: Prepared) -> str | None:
    """A warning about words that an embedded model has never seen; None for other models, and where there are none."""
    options, table = prepared.options, prepared.plan.table
    if not options.model["path"].startswith(EMBEDDED):
        return None
    from jobs import demo

    known = demo.vocabulary(options.model["path"].removeprefix(EMBEDDED))
    texts = chain(table.texts, filter(None, table.settings.get("negative_prompt", [])), [options.negative_prompt])
    unknown = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text.lower())} - known)
    if not unknown:
        return None
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    return (
        f"{table.path} has words that model {options.model['name']} does not know and takes for one another: "
        f"{', '.join(unknown[:SHOWN])}{more}; it knows {', '.join(sorted(known))}"
    )
