"""Counting equal rows, which an export does without pyarrow's grouping."""

import random
from collections import Counter

import pyarrow as pa

from jobs.export.stats import _groups


def test_rows_are_counted_as_pyarrow_counts_them() -> None:
    dice = random.Random(3)
    kinds = {
        "text": (pa.string(), ("a", "b", "", None)),
        "whole": (pa.int64(), (0, -1, 2**62, None)),
        "number": (pa.float64(), (0.5, 1e300, None)),
        "truth": (pa.bool_(), (True, False, None)),
    }
    for count in (0, 1, 500):
        columns = {name: pa.array(dice.choices(values, k=count), kind) for name, (kind, values) in kinds.items()}
        table = pa.concat_tables([pa.table(columns).slice(0, count // 2), pa.table(columns).slice(count // 2)])
        reference = table.group_by([*kinds]).aggregate([([], "count_all")]).to_pylist()
        found = Counter({tuple(row.values()): times for row, times in _groups(table)})
        assert found == Counter({tuple(row[name] for name in kinds): row["count_all"] for row in reference})
