"""What a command says before it begins although it goes on: things that will probably disappoint."""

import re
import sys
from itertools import chain

from jobs.prepare import Prepared
from jobs.weights import EMBEDDED

SHOWN = 10  # words in a warning


def warn(prepared: Prepared) -> None:
    """Print the warnings there are, a line each, to standard error."""
    if warning := unknown_words(prepared):
        print(f"warning: {warning}", file=sys.stderr)


def unknown_words(prepared: Prepared) -> str | None:
    """A warning about words that an embedded model has never seen; None for other models, and where there are none."""
    options, table = prepared.options, prepared.plan.table
    if not options.model["path"].startswith(EMBEDDED):
        return None
    from jobs import demo

    known = demo.vocabulary(options.model["path"].removeprefix(EMBEDDED))
    texts = chain(table.texts, filter(None, table.settings.get("negative_prompt", [])), [options.negative_prompt])
    unknown = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text.lower())} - known)
    if not unknown:
        return None
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    return (
        f"{table.path} has words that model {options.model['name']} does not know and takes for one another: "
        f"{', '.join(unknown[:SHOWN])}{more}; it knows {', '.join(sorted(known))}"
    )
