"""Measure the samples of a run: ``python -m jobs.score RUN [option=value ...]``.

RUN is its directory, or its address in a store. Scores go into tables of RUN/scores; tars and sidecars stay as they
are. On a cluster, as with jobs.generate:
``python -m jobs.score RUN -m hydra/launcher=submitit_slurm hydra.launcher.partition=gpu scorers=[clip]``. The same
command again scores what is missing and nothing else. Exit code 0: all that is asked for is scored. 1: something is
left, and the summary says what. 2: the command line needs mending; nothing was written.
"""

import os
import sys

from jobs.base.errors import BadInput, refuse
from jobs.base.output import print_all
from jobs.options.score import WHERE, ScoreOptions, parse_score
from jobs.options.words import group_help
from jobs.score.command import score

_LAUNCH = {"-m", "--multirun"}


def main(arguments: list[str] | None = None) -> int:
    """Score, and print what is there by then."""
    words = sys.argv[1:] if arguments is None else arguments
    if {"--help", "-h"} & {*words}:
        more = f"Options of jobs.generate that it takes as well: {', '.join(WHERE)}.*, and with -m hydra.launcher.*"
        print_all(f"{__doc__}\n\nOptions:\n{group_help(ScoreOptions)}\n\n{more}")
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        paths, options, elsewhere = parse_score([word for word in words if word not in _LAUNCH])
        if len(paths) != 1:
            raise BadInput(f"name one run, like outputs/demo-shapes, not {' and '.join(paths) or 'none'}")
        return score(paths[0], options, elsewhere, launch=bool(_LAUNCH & {*words}))
    except BadInput as error:
        refuse(str(error))
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    sys.exit(main())
