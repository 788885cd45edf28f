"""What Hydra does not offer openly: its parser of flags, so that ``-m`` may stand anywhere on the command line."""

import sys
from collections.abc import Callable
from typing import NoReturn

from hydra._internal.utils import get_args_parser


def sort_arguments(refuse: Callable[[str], NoReturn]) -> None:
    """Put flags before options in ``sys.argv``, as argparse wants them; unknown flags are refused in one line.

    Args:
        refuse: called with a sentence.
    """
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[assignment, method-assign]
    known, unknown = parser.parse_known_intermixed_args()
    if unknown:
        refuse(
            f"{unknown[0]} is not a flag: options are written option=value, "
            "and python -m jobs.generate --help lists them"
        )
    sys.argv[1:] = [item for item in sys.argv[1:] if item not in known.overrides] + known.overrides
