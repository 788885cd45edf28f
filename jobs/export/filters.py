"""``where`` and ``best_of``: which samples an export keeps, by SQL over the table of all of them.

The answer is kept in the work directory, so that an export that goes on has the same samples. It follows from the table
alone: the SQL is one condition, reads and writes no file, and draws the same numbers by ``random()``.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count as counting
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.base.errors import BadInput
from jobs.options.export import ExportOptions
from jobs.options.score import scorer_of
from jobs.store.atomic import write_bytes

CHOSEN = "chosen.parquet"
# Where a candidate is: number of its shard in the export, and row of that. No column has a dot in its name.
SOURCE, ROW = "jobs.source", "jobs.row"
_PLACE = f'"{SOURCE}", "{ROW}"'
_MISSING = re.compile(r'column "?([A-Za-z_]\w*)"? (?:not found|was not found|does not exist)', re.IGNORECASE)


@dataclass(frozen=True)
class Chosen:
    """The samples that are kept.

    Attributes:
        rows: shard -> its rows that are kept (int64).
        left_out: why samples are not -> how many.
    """

    rows: dict[int, "np.ndarray"]
    left_out: dict[str, int]

    def among(self, number: int, count: int) -> "np.ndarray":
        """Return which of ``count`` rows of a shard are kept (bool)."""
        found = np.zeros(count, bool)
        found[self.rows.get(number, np.array([], np.int64))] = True
        return found


def filters(options: ExportOptions) -> bool:
    """Return whether samples are chosen at all."""
    return options.where is not None or options.best_of is not None


def check_filters(options: ExportOptions) -> None:
    """Refuse options that do not go together, and a missing DuckDB.

    Raises:
        BadInput: says what to change.
    """
    if options.by is not None and options.best_of is None:
        raise BadInput("by= says which samples best_of= keeps: add best_of=1, or leave by out")
    if options.best_of is not None and options.by is None:
        raise BadInput("best_of= keeps the best samples of each prompt by a column: add by=COLUMN, like by=clip_score")
    if filters(options):
        try:
            import duckdb  # noqa: F401
        except ImportError:
            raise BadInput("where= and best_of= need DuckDB, which is not installed: pip install duckdb") from None


def choose(
    folder: Path, options: ExportOptions, tables: Callable[[], Iterator[pa.Table]], mend: Callable[[str], str | None]
) -> Chosen:
    """Choose, or return what was chosen when this export began.

    Args:
        folder: the work directory.
        options: ``where``, ``best_of`` and ``by``.
        tables: yields the candidates, with ``SOURCE`` and ``ROW`` beside the columns that can be asked for.
        mend: returns what to do about a column that is not there; None where nobody knows.

    Raises:
        BadInput: the SQL is wrong, or leaves no sample.
    """
    kept = folder / CHOSEN
    if not kept.exists():
        candidates = folder / "new" / "candidates.parquet"
        _write(candidates, tables())
        write_bytes(kept, _query(candidates, options, mend))
        candidates.unlink()
    table = pq.read_table(kept, use_threads=False)
    sources, rows = (table.column(place).to_numpy() for place in range(2))
    order = np.argsort(sources, kind="stable")
    numbers, starts = np.unique(sources[order], return_index=True)
    parts = np.split(rows[order], starts[1:])
    counts = (table.schema.metadata or {}).items()
    left_out = {name.decode(): int(count) for name, count in counts if name != b"ARROW:schema"}
    return Chosen({int(number): np.sort(part) for number, part in zip(numbers, parts, strict=True)}, left_out)


def _write(target: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    names = told_apart(first.column_names)
    first = first.rename_columns(names)
    with pq.ParquetWriter(target, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table.rename_columns(names))


def told_apart(names: Sequence[str]) -> list[str]:
    """Return names that SQL tells apart, to which capitals are nothing: ``Score`` and ``score`` get numbers behind."""
    shared = Counter(name.casefold() for name in names)
    taken = {*shared}
    found = []
    for name in names:
        if shared[name.casefold()] > 1:
            name = next(one for one in (f"{name}_{number}" for number in counting(1)) if one.casefold() not in taken)
            taken.add(name.casefold())
        found.append(name)
    return found


def _query(candidates: Path, options: ExportOptions, mend: Callable[[str], str | None]) -> bytes:
    """Return the samples that are kept as a file, and in its metadata why others are not."""
    import duckdb

    path = str(candidates.resolve())
    names = [name for name in pq.read_schema(path).names if name not in (SOURCE, ROW)]
    with duckdb.connect() as database:
        database.execute("SET threads = 1")  # sums come out alike
        database.execute(f"SET allowed_paths = [{_text(path)}]")
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        database.read_parquet(path).create_view("samples")

        def ask(option: str, sql: str) -> Any:
            try:
                (statement,) = database.extract_statements(sql)
                database.execute("SELECT setseed(0)")
                return database.execute(statement)
            except ValueError:
                raise BadInput(
                    f"{option}={getattr(options, option)} is more than one statement: give a single condition or value"
                ) from None
            except duckdb.Error as error:
                raise BadInput(_trouble(option, getattr(options, option), error, names, mend)) from None

        where = "true" if options.where is None else f"({options.where}\n)"
        ask("where", f"CREATE TEMP TABLE passed AS SELECT {_PLACE} FROM samples WHERE {where}")
        total, unknown = ask("where", f"SELECT count(*), count(*) FILTER (({where}) IS NULL) FROM samples").fetchone()
        ((passed,),) = database.execute("SELECT count(*) FROM passed").fetchall()
        chosen = f"SELECT {_PLACE} FROM passed"
        if options.best_of is not None:
            place = f"row_number() OVER (PARTITION BY prompt ORDER BY ({options.by}\n) DESC NULLS LAST, key)"
            chosen = (
                f"SELECT {_PLACE} FROM samples SEMI JOIN passed USING ({_PLACE}) QUALIFY {place} <= {options.best_of}"
            )
        table = pa.table(ask("by", f"SELECT * FROM ({chosen}) ORDER BY {_PLACE}").fetchnumpy())
    if not table.num_rows:
        raise BadInput(f"where={options.where} is true of none of {total:,} samples: ask for less")
    counts = {
        f"not true of it: {options.where}": total - passed - unknown,
        f"a value is missing of: {options.where}": unknown,
        f"not among the best {options.best_of} of its prompt by {options.by}": passed - table.num_rows,
    }
    metadata = {reason: str(count) for reason, count in counts.items() if count}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return sink.getvalue()


def _text(value: str) -> str:
    """Return a text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"


def _trouble(option: str, given: Any, error: Exception, names: list[str], mend: Callable[[str], str | None]) -> str:
    """Return the sentence about SQL that DuckDB does not take."""
    first = str(error).strip().splitlines()[0]
    if "disabled by configuration" in first:
        return f"{option}={given} asks for what is no column: what is kept follows from the table alone"
    missing = _MISSING.search(first)
    if missing is None:
        return f"{option}={given} is no SQL that DuckDB takes: {first}"
    name = missing[1]
    there = f"there are the columns {', '.join(names)}"
    return f"{option}={given} asks for {name}: {mend(name) or there}"


def how_to_score(name: str, runs: list[str]) -> str | None:
    """Return what makes a column that is not there; None where no scorer of the program does."""
    scorer = scorer_of(name)
    if scorer is None:
        return None
    commands = " and ".join(f"python -m jobs.score {run} scorers=[{scorer}]" for run in runs)
    return f"no sample has it yet: run {commands} first"
