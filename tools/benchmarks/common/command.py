"""What the benchmarks' command lines have in common."""

import argparse
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

OUT = Path("docs/benchmarks")


def new_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark: ``--out`` and ``--render``."""
    parser = argparse.ArgumentParser(
        prog=command, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of results and page; default: %(default)s")
    parser.add_argument("--render", action="store_true", help="measure nothing, only write the page again")
    return parser


def refuse_unknown(parser: argparse.ArgumentParser, what: str, given: Iterable[str], known: Collection[str]) -> None:
    """End the program with a sentence if a name is not one of the known.

    Args:
        parser: Of the command, to end it.
        what: What is named, such as "model".
        given: Names from the command line.
        known: Those there are.
    """
    for name in given:
        if name not in known:
            parser.error(f"there is no {what} {name!r}: choose among {', '.join(known)}")


def refuse_below(parser: argparse.ArgumentParser, options: argparse.Namespace, least: float, *names: str) -> None:
    """End the program with a sentence if one of the named options is below ``least`` or not a number."""
    for name in names:
        if not getattr(options, name) >= least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least:g}, not {getattr(options, name):g}")


def read_results(parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    """Return the results in a file, or end the program with a sentence if there are none to render."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        parser.error(f"there is no {path}: measure first, or name its folder with --out")
