"""Training state on disk: written whole or not at all, so that the same command, run again, goes on."""

import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` beside ``path`` and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any] | None:
    """Return the state that ``save`` wrote, or None if there is none yet."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def append_row(path: Path, header: str, *values: object) -> None:
    """Add one line to a CSV file, with ``header`` as its first line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if file.tell() == 0:
            file.write(header + "\n")
        file.write(",".join(f"{v:.5g}" if isinstance(v, float) else str(v) for v in values) + "\n")
