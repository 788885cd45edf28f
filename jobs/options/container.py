"""The container that tasks run in."""

from dataclasses import dataclass
from typing import Any

from jobs.options.fields import option


@dataclass(frozen=True)
class Container:
    """With ``hydra/launcher=submitit_slurm``: tasks run in an image that has this project installed, this version."""

    image: str | None = option(None, "the image that tasks run in: a file or folder, or an address (pyxis)")
    runtime: str = option(
        "auto", "what starts it; auto: apptainer for a .sif file or a folder, else pyxis (enroot)",
        choices=("auto", "pyxis", "apptainer"),
    )  # fmt: skip
    mounts: Any = option(None, "further paths to mount, like [/scratch, /home/me/models:/models]")
    python: str = option("python3", "the Python inside that has this project")
