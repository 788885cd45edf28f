"""Long texts on a terminal."""

import os
import sys


def print_all(text: str) -> None:
    """Print a text; whoever reads only its beginning, as ``| head`` does, ends it without a traceback."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end of the process
