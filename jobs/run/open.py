"""A run and its directory: whether it may go there, and its first records."""

import os
import shutil
import time
from pathlib import Path

from omegaconf import DictConfig

from jobs import __version__
from jobs.base.errors import BadInput
from jobs.run.resolve import resolve
from jobs.run.run import Run

# Bytes a pixel (of clips: a pixel of a frame) of the smallest files each format makes: refuse what surely cannot fit.
_LEAST_BYTES = {"png": 0.05, "jpg": 0.03, "webp": 0.01, "mp4": 0.0005}


def open_run(cfg: DictConfig) -> Run:
    """Resolve a run and check the directory that it has or will have; nothing is written.

    Raises:
        BadInput: anything a user can mend, in one sentence.
    """
    run = resolve(cfg, pin=True)
    if run.directory.exists():
        run.directory.check(run.identity)
    if run.options.dry_run:
        return run
    _check_writable(run)
    left = len(run.unfinished())  # also refuses shards= out of range
    _check_space(run, left * run.options.shard_size)
    return run


def create(run: Run) -> None:
    """Write the run's records if this command is its first.

    Raises:
        BadInput: the directory cannot be made, or another run is there by now.
    """
    if not run.directory.exists():
        record = {
            "version": __version__,
            "identity": run.identity,
            "revision_asked": run.options.model.revision,
            "samples": run.layout.num_samples,
            "shards": run.layout.num_shards,
            "shard_size": run.layout.shard_size,
            "created": time.time(),
        }
        try:
            run.directory.create(record, run.config)
        except OSError as error:
            raise BadInput(f"output_base_path: {run.directory.path} cannot be made: {error.strerror}") from None
    run.directory.check(run.identity)  # another command may have been first


def _check_writable(run: Run) -> None:
    folder = _nearest_existing(run)
    if not folder.is_dir():
        raise BadInput(f"output_base_path: {folder} is a file, not a directory: choose another output_base_path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"output_base_path: {folder} is not writable: choose another output_base_path")


def _check_space(run: Run, samples: int) -> None:
    free = shutil.disk_usage(_nearest_existing(run)).free
    options = run.options
    pixels = options.height * options.width * options.num_frames
    least = int(samples * pixels * _LEAST_BYTES[run.media.name])
    if free < least:
        raise BadInput(
            f"output_base_path: {run.directory.path} needs at least {least / 1e9:.1f} GB for {samples} samples "
            f"and has {free / 1e9:.1f} GB free: free some, or choose another output_base_path"
        )


def _nearest_existing(run: Run) -> Path:
    folder = run.directory.path.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
