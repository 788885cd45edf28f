"""Calibrations that runs made of themselves, kept for later runs of the same kind."""

import logging
from pathlib import Path

import spectrum
from jobs.base.disk import cache_folder
from jobs.store.atomic import create_bytes

log = logging.getLogger(__name__)


def folder() -> Path:
    """Return where they are kept: ``$XDG_CACHE_HOME/spectrum-jobs/calibrations``."""
    return cache_folder("calibrations")


def find(key: str) -> spectrum.Calibration | None:
    """Return a calibration by what decides it; None where there is none, or one that was damaged."""
    path = folder() / f"{key}.json"
    try:
        return spectrum.Calibration.load(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s is passed over: %s", path, error)
        return None


def keep(key: str, data: bytes) -> None:
    """Keep a file, unless there is one; a cache that cannot be written is no reason to fail."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        create_bytes(folder() / f"{key}.json", data)
    except OSError as error:
        log.warning("the calibration is not kept for later runs: %s", error)
