"""Composes the configuration from options on a command line, for commands that Hydra does not run itself."""

from collections.abc import Sequence
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import jobs.options.register  # noqa: F401  (the schema that conf/generate.yaml starts from)
from jobs.base.errors import BadInput
from jobs.options.explain import explain
from jobs.options.places import CONF
from jobs.options.texts import literal

# Hydra 1.3 asks which version's defaults are meant, and 1.4 warns of being told.
DEFAULTS: dict[str, Any] = {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}


def compose_options(overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """Return the configuration of ``jobs.generate`` with these options.

    Args:
        overrides: as on its command line.
        with_hydra: whether Hydra's own part is in it, the launcher among it.

    Raises:
        BadInput: an option does not exist, or has a value of another type.
    """
    try:
        with initialize_config_dir(str(CONF), **DEFAULTS):
            return compose("generate", literal(overrides), return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as error:
        raise BadInput(explain(error)) from None
    except ValueError as error:
        if not is_group_without_name(error):
            raise
        raise BadInput(explain(error)) from None


def is_group_without_name(error: ValueError) -> bool:
    """Whether this is what Hydra says of a null or a number in place of a file's name, like ``model=null``."""
    return str(error).startswith("Config group override must be a string")
