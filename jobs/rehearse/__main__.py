"""What a run takes of a GPU, before there is one: ``python -m jobs.rehearse model=flux height=768 width=1344``.

Options are those of jobs.generate. The model is made at its real size without weights, and one batch goes through the
pipeline's own code; no GPU, no download and little memory are needed. Memory, operations and floating point operations
are counted; seconds on cards by name follow from their data sheets and a share that is assumed.
"""

import argparse
import json
import sys
from dataclasses import asdict

from jobs.base.errors import BadInput, refuse
from jobs.options.compose import compose_options
from jobs.rehearse.cards import UTILISATION
from jobs.rehearse.describe import describe
from jobs.rehearse.rehearsal import rehearse
from jobs.run.resolve import resolve


def main(arguments: list[str] | None = None) -> int:
    """Rehearse, and print what was counted."""
    parser = argparse.ArgumentParser(prog="python -m jobs.rehearse", description=__doc__)
    parser.add_argument("options", nargs="*", help="options of jobs.generate, such as model=flux batch_size=4")
    parser.add_argument(
        "--utilisation", type=float, default=UTILISATION, help="assumed share of a card's arithmetic (%(default)s)"
    )
    parser.add_argument("--price", type=float, help="of a GPU-hour, to tell what the run costs")
    parser.add_argument("--json", action="store_true", help="print what was counted as JSON")
    given = parser.parse_intermixed_args(arguments)
    if not 0 < given.utilisation <= 1:
        refuse(f"--utilisation must be above 0 and at most 1, not {given.utilisation:g}")
    if given.price is not None and given.price <= 0:
        refuse(f"--price must be above 0, not {given.price:g}")
    try:
        run = resolve(compose_options(given.options))
        rehearsal = rehearse(run)
    except BadInput as error:
        refuse(str(error))
    if given.json:
        print(json.dumps(asdict(rehearsal), indent=2))
    else:
        print(describe(run, rehearsal, utilisation=given.utilisation, price=given.price))
    return 0


if __name__ == "__main__":
    sys.exit(main())
