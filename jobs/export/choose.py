"""Which rows of the runs' tables an export has, and which of them come with a file. A filter of samples belongs here.

A sample may have been tried again in a later pass (``jobs.run.retry``): then it is what came of it there.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.store.sidecar import FAILED


def has_file(table: pa.Table) -> "np.ndarray":
    """Return of which rows there is an image or clip (bool)."""
    found: np.ndarray = pc.not_equal(table["status"], FAILED).to_numpy()
    return found


def overruled(run: Iterable[tuple[int, pa.Table]], tried_again: Iterable[int]) -> Mapping[int, "np.ndarray"]:
    """Return which rows are not the export's, because another shard of their run tells what became of the sample.

    That is the first that has a file of it, else the last.

    Args:
        run: number and table of each shard of a run, in order; "sample_index" and "status" are used.
        tried_again: the samples of its later passes.

    Returns:
        Shard -> rows (bool); of shards that have some.
    """
    again = np.fromiter(tried_again, np.int64)
    found: dict[int, tuple[int, bool]] = {}  # sample -> shard, and whether there is a file
    rows = {}
    for number, table in run:
        samples, files = table["sample_index"].to_numpy(), has_file(table)
        places = np.flatnonzero(np.isin(samples, again))
        if len(places):
            rows[number] = samples, places
        for place in places:
            if not found.get(int(samples[place]), (0, False))[1]:
                found[int(samples[place])] = number, bool(files[place])
    out = {}
    for number, (samples, places) in rows.items():
        out[number] = np.zeros(len(samples), bool)
        out[number][places] = [found[int(samples[place])][0] != number for place in places]
    return out
