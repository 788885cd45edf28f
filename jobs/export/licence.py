"""Which licence an export has, and what the models' licences say of training on it: as the runs recorded them."""

import re
from dataclasses import astuple
from typing import Any

import yaml

from jobs.base.errors import BadInput
from jobs.export.source import SourceRun
from jobs.model.licences import Licence, OutputTerms, output_terms
from jobs.options.export import ExportOptions


def find_licence(options: ExportOptions, runs: list[SourceRun]) -> Licence:
    """Return the licence that was given, else that which the runs' checkpoints had when they began.

    Raises:
        BadInput: none was given and the runs' records have none, or not the same.
    """
    if options.license is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", options.license):
            raise BadInput(f"license must be a licence's short name, like cc-by-4.0 or other, not {options.license!r}")
        return Licence(options.license.lower())
    found = {_recorded(run) for run in runs}
    if len(found) == 1 and (only := found.pop()) is not None:
        return only
    models = " and ".join(sorted({_path(run) or run.name for run in runs}))
    why = "have licences of their own each" if len(found) > 1 else "had no model card that names its licence"
    raise BadInput(
        f"{models} {why}: say under which licence the data set is, like license=cc-by-4.0, after reading the model's"
    )


def licences_of(runs: list[SourceRun]) -> list[tuple[str, Licence]]:
    """Return the models with the licences that their checkpoints had when the runs began; of those that had one."""
    found = {(_model(run), licence) for run in runs if (licence := _recorded(run))}
    return sorted(found, key=lambda one: (one[0], astuple(one[1])))


def terms_of(runs: list[SourceRun]) -> dict[str, OutputTerms]:
    """Return, by model, what restricts training on its outputs: as recorded, else as is known today."""
    found = {}
    for run in runs:
        recorded = run.record.get("output_terms")
        terms = OutputTerms(**recorded) if recorded else output_terms(_path(run), _recorded(run))
        if terms:
            found[_model(run)] = terms
    return found


def _recorded(run: SourceRun) -> Licence | None:
    recorded = run.record.get("licence")
    return Licence(**recorded) if recorded else None


def _model(run: SourceRun) -> str:
    """Name a run's model, not where a directory lies."""
    model = run.record["identity"]["model"]
    return str(model.get("path") or model["name"])


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
