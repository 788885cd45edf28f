"""Which licence an export has, and what the models' licences say of training on it."""

import re
from typing import Any

import yaml

from jobs.base.errors import BadInput
from jobs.export.source import SourceRun
from jobs.model.checkpoint import Checkpoint, find_checkpoint
from jobs.model.licences import Licence, OutputTerms, checkpoint_licence, output_terms
from jobs.options.export import ExportOptions


def find_licence(options: ExportOptions, runs: list[SourceRun]) -> Licence:
    """Return the licence that was given, else that of the runs' checkpoints.

    Raises:
        BadInput: none was given and the checkpoints do not say, or not the same.
    """
    if options.license is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", options.license):
            raise BadInput(f"license must be a licence's short name, like cc-by-4.0 or other, not {options.license!r}")
        return Licence(options.license.lower())
    found = {checkpoint_licence(one) if (one := _checkpoint(run)) else None for run in runs}
    if len(found) == 1 and (only := found.pop()) is not None:
        return only
    models = " and ".join(sorted({_path(run) or run.name for run in runs}))
    why = "have licences of their own each" if len(found) > 1 else "has no model card here that names its licence"
    raise BadInput(
        f"{models} {why}: say under which licence the data set is, like license=cc-by-4.0, after reading the model's"
    )


def terms_of(runs: list[SourceRun]) -> dict[str, OutputTerms]:
    """Return, by model, what is known to restrict training on its outputs."""
    found = {}
    for run in runs:
        checkpoint, path = _checkpoint(run), _path(run)
        terms = output_terms(path, checkpoint_licence(checkpoint) if checkpoint else None)
        if terms:
            model = run.record["identity"]["model"]
            found[str(model.get("path") or model["name"])] = terms  # not where a directory lies
    return found


def _checkpoint(run: SourceRun) -> Checkpoint | None:
    """Return the run's checkpoint where it still lies; None where it does not."""
    path = _path(run)
    revision = run.record["identity"]["model"].get("revision") if "path" in run.record["identity"]["model"] else None
    try:
        return find_checkpoint(path, revision) if path else None
    except BadInput:
        return None


def _path(run: SourceRun) -> str:
    """Return the hub id or directory of the run's model; empty where its records do not say."""
    recorded = run.record["identity"]["model"].get("path")
    if recorded:
        return str(recorded)
    try:
        config: Any = yaml.safe_load((run.directory.path / "config.yaml").read_text())
        return str(config["model"]["path"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ""
