"""The file of one machine's results: what is measured anew replaces what was there, everything else stays."""

import json
import sys
from pathlib import Path
from typing import Any


def load(path: Path, here: dict[str, Any]) -> dict[str, Any]:
    """Return the earlier results, or empty ones if there are none or they were made by other versions."""
    empty: dict[str, Any] = {"machine": here, "tables": {}, "forecasts": {}, "operations": {}, "parts": {}}
    try:
        earlier = json.loads(path.read_text())
    except FileNotFoundError:
        return empty
    if any(earlier["machine"][name] != here[name] for name in ("device", "libraries", "settings")):
        print(f"{path} was made with other versions or settings: starting anew", file=sys.stderr)
        return empty
    return empty | earlier | {"machine": here}


def put_rows(results: dict[str, Any], head: dict[str, Any], rows: dict[str, Any]) -> None:
    """Put rows, by the method's name, into the table of their model, scale, number of steps and dtype."""
    key = f"{head['model']}, scale {head['scale']:g}, {head['steps']} steps, {head['dtype']}{conditions_said(head)}"
    table = results["tables"].setdefault(key, {"rows": {}})
    table |= head
    table["rows"] |= rows


def put_forecast(results: dict[str, Any], head: dict[str, Any], row: dict[str, Any]) -> None:
    """Put one row of the forecasts' table."""
    key = f"{head['model']}, scale {head['scale']:g}, {row['rows']} rows, {row['dtype']}"
    results["forecasts"][key] = head | row


def put_operations(results: dict[str, Any], head: dict[str, Any], row: dict[str, Any]) -> None:
    """Put one row of the table of operations."""
    results["operations"][f"{head['model']}, scale {head['scale']:g}"] = head | row


def put_parts(results: dict[str, Any], head: dict[str, Any], rows: dict[str, Any]) -> None:
    """Put the rows of a model's text encoders and autoencoder."""
    key = f"{head['model']}, scale {head['scale']:g}, {head['dtype']}{conditions_said(head)}"
    results["parts"][key] = head | {"rows": rows}


def conditions_said(head: dict[str, Any]) -> str:
    """Return what differs from a sample a call in plain kernels, such as ``, batch 4, compile blocks``."""
    said = [f"batch {head['batch']}"] if head.get("batch", 1) > 1 else []
    said += [f"{name} {head[name]}" for name in ("compile", "attention") if head.get(name) not in (None, "none")]
    return "".join(f", {one}" for one in said)
