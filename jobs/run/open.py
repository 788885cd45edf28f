"""A run and its directory: whether it may go there, and its first records."""

import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from jobs import __version__
from jobs.base.differences import differences
from jobs.base.disk import human_bytes
from jobs.base.errors import BadInput
from jobs.model import calibration_cache
from jobs.model.calibration_file import read_calibration
from jobs.model.licences import checkpoint_licence, output_terms
from jobs.run.calibration import calibration_key, is_measured, with_calibration
from jobs.run.growth import as_then, grows, is_untouched
from jobs.run.identity import changes
from jobs.run.resolve import Choose, resolve
from jobs.run.retry import retried
from jobs.run.run import Run
from jobs.store.atomic import create_bytes
from jobs.store.reopen import reopen_short
from jobs.store.writer import BACKLOG

# What of the record stays as the run began with it, also when it has grown.
_AS_BEGUN = ("created", "calibration", "quality", "licence", "output_terms")
# Bytes a pixel (of clips: a pixel of a frame) of the smallest files each format makes: refuse what surely cannot fit.
_LEAST_BYTES = {"png": 0.05, "jpg": 0.03, "webp": 0.01, "mp4": 0.0005}


def open_run(cfg: DictConfig, choose: Choose | None = None) -> Run:
    """Resolve a run and check the directory that it has or will have; nothing is written.

    Args:
        cfg: the composed config.
        choose: see ``resolve``.

    Raises:
        BadInput: anything a user can mend, in one sentence.
    """
    run = resolve(cfg, pin=True, choose=choose)
    if run.directory.exists():
        _check_same(run)
    if run.options.retry_failed:
        run = retried(run)
    if run.directory.remote:
        run.directory.remote.try_writing()
    if run.options.dry_run:
        return run
    _check_writable(run)
    left = len(run.unfinished())  # also refuses shards= out of range
    _check_space(run, left * run.options.shard_size)
    return run


def create(run: Run) -> None:
    """Write the run's records if this command is its first, or the first with so many samples.

    Raises:
        BadInput: the directory cannot be made, or another run is there by now.
    """
    directory = run.directory
    try:
        directory.make_folders()
        if not directory.exists():
            directory.create({**_record(run), **_adopt(run)}, run.config)
        elif not _is_same(run):
            record = directory.read()
            if _is_grown(run):
                earlier = [*record.get("earlier", []), record["identity"]["prompts"]]
                kept: dict[str, Any] = {name: record[name] for name in _AS_BEGUN if name in record}
                directory.rewrite({**_record(run), **kept, "earlier": earlier}, run.config)
            elif is_untouched(run.directory):
                directory.rewrite({**_record(run), **_adopt(run)}, run.config)
    except OSError as error:
        raise BadInput(f"{_option(run)}: {directory.path} cannot be made: {error.strerror}") from None
    _check_same(run)  # another command may have been first
    reopen_short(directory, run.layout)


def check_task(run: Run) -> None:
    """Check that a task which waited in a queue is still for the run in its directory, or for its beginning.

    Raises:
        BadInput: names every difference.
    """
    if said := differences(as_then(run.directory.read(), run.identity), run.identity):
        raise BadInput(_other(run, said))


def _record(run: Run) -> dict[str, Any]:
    source = run.layout.table.source
    licence = checkpoint_licence(run.checkpoint)
    terms = output_terms(run.options.model.path, licence)
    return {
        "version": __version__,
        "name": run.name,
        "id": run.id,
        "identity": run.identity,
        "licence": asdict(licence) if licence else None,
        "output_terms": asdict(terms) if terms else None,
        "revision_asked": run.options.model.revision,
        "prompts_asked": {"location": source.location, "split": source.split, "commit": source.commit},
        "samples": run.layout.num_samples,
        "shards": run.layout.num_shards,
        "shard_size": run.layout.shard_size,
        "blocks": [*run.layout.shards.blocks],
        "created": time.time(),
    }


def _adopt(run: Run) -> dict[str, Any]:
    """Give a new run the calibration that an earlier one of its kind left in the cache; return what to record of it.

    Only here: a run that found none when it began makes its own, whatever others leave there meanwhile. One that was
    not measured as this run needs it is laid aside for ``jobs.execute.calibration``.
    """
    directory, forecast = run.directory, run.forecast
    for begun in directory.calibrations_begun():  # by a run that was given up
        shutil.rmtree(begun, ignore_errors=True)
    directory.adopted.unlink(missing_ok=True)
    if forecast is None or forecast.automatic is None:
        directory.remove(directory.calibration)
        return {}
    key, shared = calibration_key(run.options, run.checkpoint, forecast, run.layout)
    known = with_calibration(forecast, key, run.checkpoint, directory, {}).calibration
    if known:  # its own, or of a pass over failed samples that of the run
        calibration = known.read()
    else:
        directory.remove(directory.calibration)
        cached = calibration_cache.find(key) if shared else None
        if cached is None:
            return {"calibration": "", "quality": {}}
        done = is_measured(cached, forecast, run.checkpoint, run.options.num_inference_steps)
        if not done:
            create_bytes(directory.adopted, cached.to_json().encode())
            return {"calibration": "", "quality": {}}
        directory.create_calibration(cached.to_json().encode())
        calibration = read_calibration(str(directory.calibration))
    return {"calibration": calibration.digest, "quality": calibration.source.get("quality", {})}


def _check_same(run: Run) -> None:
    if not (_is_same(run) or _is_grown(run) or is_untouched(run.directory)):
        old = run.directory.read()["identity"]
        raise BadInput(_other(run, changes(old, run.identity, run.layout, run.options.total_prompt_num)))


def _other(run: Run, said: list[str]) -> str:
    return (
        f"{run.directory.name} holds another run: {'; '.join(said)}: "
        "set these back to continue it, or choose another exp_name"
    )


def _is_same(run: Run) -> bool:
    return not differences(run.directory.read()["identity"], run.identity)


def _is_grown(run: Run) -> bool:
    return grows(run.directory.read()["identity"], run.identity, run.layout)


def _check_writable(run: Run) -> None:
    folder = _nearest_existing(run)
    if not folder.is_dir():
        raise BadInput(f"{_option(run)}: {folder} is a file, not a directory: choose another {_option(run)}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"{_option(run)}: {folder} is not writable: choose another {_option(run)}")


def _check_space(run: Run, samples: int) -> None:
    free = shutil.disk_usage(_nearest_existing(run)).free
    options = run.options
    if run.directory.url:  # where tars are removed once they are in the store
        samples = min(samples, run.workers * (BACKLOG + 2) * options.shard_size)
    pixels = options.height * options.width * options.num_frames
    least = int(samples * pixels * _LEAST_BYTES[run.media.name])
    if free < least:
        raise BadInput(
            f"{_option(run)}: {run.directory.path} needs at least {human_bytes(least)} for {samples} samples "
            f"and has {human_bytes(free)} free: free some, or choose another {_option(run)}"
        )


def _option(run: Run) -> str:
    """Return the option that says where the run works."""
    return "work_path" if run.directory.url else "output_base_path"


def _nearest_existing(run: Run) -> Path:
    folder = run.directory.path.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
