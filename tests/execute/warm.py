"""The embedded model, loaded when this is imported: processes that are forked from one that has it need not load it."""

from jobs.execute.worker import load
from tests.support import SMALL, resolved

RUN = resolved("prompt_file=prompts/shapes.txt", *SMALL)
PIPELINE = load(RUN, "cpu", None)
