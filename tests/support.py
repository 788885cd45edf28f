"""What several tests of the runner share: composed configs, real command lines, and looking at what they left."""

import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from jobs.options.compose import compose_options
from jobs.run.open import create, open_run
from jobs.run.run import Run
from tests import warm

PROJECT = Path(__file__).resolve().parents[1]
HOW = {"flagged": False}  # what the writer needs to know of how a sample was made
FOLDERS = ("output_base_path=/", "prompt_file=/", "work_path=/")
SMALL = ("num_inference_steps=8", "shard_size=3", "batch_size=2", "algo.w=0.5")


def config(*overrides: str) -> DictConfig:
    """Compose the runner's config in this process.

    Hydra takes longer for it than most tests take for all else, and many differ in their folders only: so these are set
    in a copy of what was composed without them. Where one is given twice, Hydra decides.
    """
    names = [word.partition("=")[0] for word in overrides]
    folders = [word for word in overrides if word.startswith(FOLDERS) and names.count(word.partition("=")[0]) == 1]
    composed = deepcopy(_composed(*(word for word in overrides if word not in folders)))
    for word in folders:
        name, _, value = word.partition("=")
        composed[name] = value
    return composed


@cache
def _composed(*overrides: str) -> DictConfig:
    return compose_options(overrides)


def resolved(*overrides: str) -> Run:
    """A run that passed every check; nothing is on the disk."""
    return open_run(config(*overrides))


def new_run(folder: Path, *overrides: str) -> Run:
    """A run that exists on disk, with nothing made yet."""
    run = resolved(f"output_base_path={folder}", "exp_name=run", *overrides)
    create(run)
    return run


def write_prompts(path: Path, count: int) -> Path:
    """``count`` prompts that the embedded model knows."""
    colours, shapes = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle")
    lines = [f"a {colours[i % 4]} {shapes[i % 3]} on a white background" for i in range(count)]
    path.write_text("\n".join(lines))
    return path


def command(*arguments: str, module: str = "jobs.generate") -> list[str]:
    """The words of a command; without a device it does not spend a second on looking for GPUs."""
    asks = module == "jobs.generate" and not any(word.startswith(("device=", "--")) for word in arguments)
    return [sys.executable, "-m", module, *arguments, *(["device=cpu"] if asks else [])]


def generate(*arguments: str, timeout: float = 240, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m jobs.generate`` and wait."""
    return warm.run(command(*arguments), env={**os.environ, **more}, timeout=timeout)


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own, such as one of ``size=64k``; only root may make one, as CI is."""
    import pytest  # not above: processes that tests start import this module

    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs: run as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def tar_hashes(run: Path) -> dict[str, str]:
    """File name -> sha256 of the run's tars."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(run.glob("data/*"))}


def media_hashes(run: Path) -> dict[str, str]:
    """Key -> sha256 of the images or clips in the run's tars: alike also where json files tell runs apart."""
    found = {}
    for path in sorted(run.glob("data/*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, extension = member.name.partition(".")
                file = archive.extractfile(member)
                if file and extension not in ("txt", "json"):
                    found[key] = hashlib.sha256(file.read()).hexdigest()
    return found


def picture(seed: int, size: int = 16) -> np.ndarray:
    """A picture for tests that need none of a model's."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
