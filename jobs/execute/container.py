"""Tasks inside a container: what stands before their Python, and what srun is told.

The run's directory, the checkpoint, the prompts and whatever else a task reads are mounted where they are outside, so
that every path means the same on both sides.
"""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.execute.work import AnyWork
from jobs.model.converted import find_converted
from jobs.options.container import Container
from jobs.run.run import Run


def check_container(runs: Sequence[AnyWork], settings: dict[str, Any], given: set[str]) -> None:
    """Refuse a container that tasks cannot be started in.

    Args:
        runs: of this command.
        settings: the launcher's.
        given: names of those that the command line sets.

    Raises:
        BadInput: names the option.
    """
    container = runs[0].options.container
    if any(run.options.container != container for run in runs):
        raise BadInput("container cannot be swept, because all tasks of an array start alike: give one value")
    if container.image is None:
        return
    if "setup" not in settings:
        raise BadInput("container.image needs -m hydra/launcher=submitit_slurm: add it, or leave container out")
    if "python" in given:
        raise BadInput("hydra.launcher.python and container.image name two Pythons: use container.python instead")
    if _is_path(container.image) and not Path(container.image).expanduser().exists():
        raise BadInput(f"container.image {container.image} does not exist: build it, or correct the path")
    asked = container.mounts
    if not (asked is None or (isinstance(asked, list) and all(isinstance(path, str) for path in asked))):
        raise BadInput(f"container.mounts must be a list like [/scratch, /home/me/models:/models], not {asked!r}")
    for run in runs:
        mounts(run)


def start_inside(settings: dict[str, Any], runs: Sequence[AnyWork]) -> dict[str, Any]:
    """Return the launcher's settings with the container of the runs in them; unchanged where they have none.

    Args:
        settings: the launcher's.
        runs: of this command, checked.
    """
    container = runs[0].options.container
    if container.image is None:
        return settings
    bound = _outermost(path for run in runs for path in mounts(run))
    caches = [f"export HF_HUB_CACHE={shlex.quote(os.path.realpath(_hub_cache()))}"]
    here = os.getcwd()
    image = _placed(container)
    started: dict[str, Any] = {"setup": [*(settings["setup"] or []), *caches]}
    if runtime_of(container) == "pyxis":
        started["srun_args"] = [
            *(settings.get("srun_args") or []),
            f"--container-image={image}",
            f"--container-mounts={','.join(path if ':' in path else f'{path}:{path}' for path in bound)}",
            f"--container-workdir={here}",
        ]
        started["python"] = shlex.quote(container.python)
    else:
        gpus = ["--nv"] if any(run.options.model.gpus for run in runs) else []
        words = ["apptainer", "exec", *gpus, "--bind", ",".join(bound), "--pwd", here, image, container.python]
        started["python"] = shlex.join(words)
    return settings | started


def runtime_of(container: Container) -> str:
    """Return what starts a container: ``pyxis`` or ``apptainer``."""
    if container.runtime != "auto":
        return container.runtime
    image = str(container.image)
    local = image.endswith(".sif") or Path(image).expanduser().is_dir()
    return "apptainer" if local else "pyxis"


def mounts(run: AnyWork) -> list[str]:
    """Return the paths that a task of a run needs, as both runtimes take them: ``PATH`` or ``PATH:INSIDE[:ro]``.

    Raises:
        BadInput: a path that cannot be written in such a list.
    """
    needed = [Path.cwd(), run.directory.path.parent]  # beside the run lie the logs of a sweep
    needed += [folder.parent for folder in run.directory.mounted]
    needed += _read(run) if isinstance(run, Run) else run.inputs
    found = [os.path.realpath(path) for path in needed] + [os.path.abspath(path) for path in needed]
    for path in found:
        if re.search(r"[,:]", path):
            raise BadInput(f"{path} has a comma or a colon, which lists of mounts cannot hold: rename it")
    return _outermost([*found, *(run.options.container.mounts or [])])


def _read(run: Run) -> list[Path]:
    """Return what generating a run reads."""
    options, folder = run.options, run.checkpoint.folder
    needed: list[Path] = []
    single = run.checkpoint.single
    if folder is not None:
        needed.append(folder if run.checkpoint.local and not (single and single.in_cache) else _hub_cache())
    if single:
        needed.append(single.file)
    if converted := find_converted(options.model, run.checkpoint):
        needed.append(converted)
    if options.prompt_file.startswith("hf://"):
        needed.append(_hub_cache())
    else:
        needed.append(_without_wildcards(Path(options.prompt_file).expanduser()))
    needed += [lora.path for lora in run.checkpoint.loras]
    needed += [_hub_cache() if "@" in part.pin else part.place for part in run.checkpoint.parts if part.place]
    if run.forecast and run.forecast.calibration:
        needed.append(Path(run.forecast.calibration.path).expanduser())
    return needed


def _placed(container: Container) -> str:
    """Return the image as a task finds it: of a file or folder the whole path, since neither runtime expands ``~``."""
    image = str(container.image)
    local = _is_path(image) or (runtime_of(container) == "apptainer" and Path(image).exists())
    return os.path.abspath(Path(image).expanduser()) if local else image


def _is_path(image: str) -> bool:
    return image.startswith((".", "/", "~")) or image.endswith((".sif", ".sqsh"))


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE).expanduser()


def _without_wildcards(path: Path) -> Path:
    while re.search(r"[*?\[]", str(path)) and not path.exists():
        path = path.parent
    return path


def _outermost(paths: Iterable[str]) -> list[str]:
    """Leave out what lies below another one, and what is there twice."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{other.rstrip('/')}/") for other in kept if ":" not in other):
            kept.append(path)
    return kept
