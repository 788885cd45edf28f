"""Which launcher a configuration names."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from jobs.base.errors import BadInput
from jobs.execute.launch import Here, Joblib, Launcher, Submitit
from jobs.execute.slurm import Slurm

# By the class that a launcher's configuration names, whatever the configuration itself is called.
LAUNCHERS: dict[str, type[Launcher]] = {
    "BasicLauncher": Here,
    "JoblibLauncher": Joblib,
    "LocalLauncher": Submitit,
    "SlurmLauncher": Slurm,
}


def make_launcher(config: DictConfig) -> Launcher:
    """Return the launcher that the configuration names, with its settings.

    Raises:
        BadInput: it is none of ours.
    """
    name = str(config.hydra.runtime.choices["hydra/launcher"])
    kind = str(config.hydra.launcher.get("_target_")).rpartition(".")[2]
    if kind not in LAUNCHERS:
        raise BadInput(
            f"hydra/launcher={name} is not supported: choose one of basic, joblib, submitit_local, submitit_slurm"
        )
    with_prefix = [str(item).lstrip("+") for item in config.hydra.overrides.hydra]
    given = {
        item.partition("=")[0].removeprefix("hydra.launcher.")
        for item in with_prefix
        if item.startswith("hydra.launcher.")
    }
    # Only the launcher's part is resolved: other parts of Hydra's configuration are filled in later or never.
    settings = dict(config.hydra.launcher)
    plain: dict[str, Any] = {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in settings.items()
    }
    return LAUNCHERS[kind](plain, given)
