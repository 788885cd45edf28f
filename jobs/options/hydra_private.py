"""What Hydra does not offer openly: its parser of flags, so that ``-m`` may stand anywhere among the options."""

import sys
from collections.abc import Callable
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from jobs.options.texts import literal


def sort_arguments(refuse: Callable[[str], NoReturn]) -> None:
    """Put flags before options in ``sys.argv``, as argparse wants them, and quote texts, as Hydra wants them.

    Args:
        refuse: called with a sentence about an unknown flag.

    Raises:
        BadInput: a text that ``-m`` could take either way.
    """
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[assignment, method-assign]
    known, unknown = parser.parse_known_intermixed_args()
    if unknown:
        refuse(
            f"{unknown[0]} is not a flag: options are written option=value, "
            "and python -m jobs.generate --help lists them"
        )
    flags = [item for item in sys.argv[1:] if item not in known.overrides]
    sys.argv[1:] = [*flags, *literal(known.overrides, sweep=known.multirun)]
