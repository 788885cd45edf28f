"""From runs to a folder for others, step by step. Each step finds what an interrupted command left and goes on."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.base.disk import human_bytes
from jobs.base.errors import BadInput
from jobs.base.together import together
from jobs.export.filters import check_filters
from jobs.export.formats import FORMATS, Format, remove
from jobs.export.index import index_shard
from jobs.export.indexes import energon_is_installed
from jobs.export.licence import find_licence
from jobs.export.plan import Piece
from jobs.export.rows import Rows
from jobs.export.scan import stamp_of
from jobs.export.scores import Scores
from jobs.export.source import SourceRun, open_runs
from jobs.export.stats import Stats
from jobs.export.store import Store
from jobs.export.stored import fetch_tars, opened_runs
from jobs.export.surroundings import METADATA, write_surroundings
from jobs.export.table import in_groups, write_metadata
from jobs.export.trouble import explained
from jobs.export.upload import Place, files_of, finished
from jobs.export.view import View
from jobs.export.work import Work, check_destination
from jobs.options.export import CHOICE, ELSEWHERE, SPLITS, ExportOptions
from jobs.store.atomic import replace as move
from jobs.store.atomic import sync
from jobs.store.rundir import RunDir

_MOUNTED = "file://"
_AT_ONCE = 2  # shards or files; what takes time is hashing, which needs a core each
Say = Callable[[str], None]


def export(places: Sequence[str], dest: str, options: ExportOptions, say: Say) -> None:
    """Make the export, go on with it, or find that it is there.

    Args:
        places: the runs: their directories, or addresses in a store.
        dest: a folder that does not exist, or is this very export.
        options: how.
        say: is given lines for a person.

    Raises:
        BadInput: whatever a user can mend.
    """
    if not places:
        raise BadInput("no run is named: name at least one to export")
    if Path(dest).name in ("", ".."):
        raise BadInput(f"the destination must be a new folder, like my-dataset, not {dest!r}")
    if "://" in dest:
        raise BadInput(f"{dest} is no folder on this machine: name one, and add dest={dest} to have it copied there")
    paths = [Path(place) for place in places if "://" not in place]
    with explained(paths, Path(dest)):
        _check_paths(paths, Path(dest))
        _check_copy(options.dest, paths, Path(dest))
        check_filters(options)
        copies = _copies(options)
        with opened_runs(places) as directories:
            _export(directories, Work(Path(dest)), options, copies, say)


def _export(directories: list[RunDir], work: Work, options: ExportOptions, copies: list[Place], say: Say) -> None:
    runs = open_runs(directories, partial=options.partial, copies=work.tars)
    runs = _pinned(runs, work.pinned() if options.partial else {})
    options = _resolved(options, runs)
    scores = Scores(runs, partial=options.partial)
    described = _described(options, runs, scores)
    for copy in copies:
        copy.check(described)
    if check_destination(work.dest, described):
        files_of(work.dest)
        work.clear()
        say(f"{work.dest} is this export already, whole: nothing was left to do")
    else:
        with work.held():
            if not check_destination(work.dest, described):  # no other command has just made it
                work.begin(described, runs)
                _make(work, runs, scores, options, described, say)
    for copy in copies:
        say(copy.send(finished(work.dest)))


def _copies(options: ExportOptions) -> list[Place]:
    """Return where the export is copied to; they are not looked at yet."""
    copies: list[Place] = [Store(options.dest)] if options.dest else []
    if options.hub:
        from jobs.export.hub import Hub  # and what it imports: few exports need it

        copies.append(Hub(options.hub))
    return copies


def _make(
    work: Work, runs: list[SourceRun], scores: Scores, options: ExportOptions, described: dict[str, Any], say: Say
) -> None:
    form: Format = FORMATS[options.format](options)
    if fetched := fetch_tars(runs, work):
        say(f"fetched {fetched} shards")
    _index(work, runs, say)
    rows = Rows(work, runs, scores, options)
    for reason, count in rows.left_out.items():
        say(f"left out {count}, {reason}")
    view = View(work, runs, rows, form)
    for place, (split, share) in enumerate(zip(SPLITS, options.shares, strict=False)):
        if share and all(piece.split != place for piece in view.pieces):
            say(f"there is no {split}: no prompt falls into its share, {share:g} of {rows.count_prompts():,}")
    with ThreadPoolExecutor(1) as beside:  # files wait for the disk much of their time
        stats = Stats(rows.count_prompts(), scores.types, rows.left_out, sum(run.unmade() for run in runs))
        table = beside.submit(_table, work, view, stats)
        records = _write_pieces(work, view, form)
        stats = table.result()
    write_surroundings(work, view, runs, options, described, records, stats)
    work.finish()
    say(f"{work.dest}: {stats.samples} samples, {stats.given_up} given up")


def _check_paths(paths: list[Path], dest: Path) -> None:
    if dest.is_dir() and (dest / "run.json").exists():
        raise BadInput(f"{dest} is a run: name the runs first and a new folder for the export last")
    for path in paths:
        if dest.resolve().is_relative_to(path.resolve()):
            raise BadInput(f"{dest} lies within the run {path}: choose a destination elsewhere")


def _check_copy(url: str | None, runs: list[Path], dest: Path) -> None:
    """Refuse a copy within what it is a copy of, or within a run."""
    if url and url.startswith(_MOUNTED):
        copy = Path(url.removeprefix(_MOUNTED)).resolve()
        for path in (*runs, dest, Work(dest).path):
            if copy.is_relative_to(path.resolve()) and copy != dest.resolve():
                raise BadInput(f"dest={url} lies within {path}: choose another place for the copy")


def _pinned(runs: list[SourceRun], pins: dict[str, list[str]]) -> list[SourceRun]:
    """Go on with the shards that were done when an export of unfinished runs began, though there may be more by now."""
    if {run.run_id for run in runs} != pins.keys():
        return runs
    return [replace(run, shards=tuple(one for one in run.shards if one.name in pins[run.run_id])) for run in runs]


def _resolved(options: ExportOptions, runs: list[SourceRun]) -> ExportOptions:
    """Fill in what was left to the program; the licence is looked for elsewhere."""
    energon = options.energon
    if options.format != "webdataset":
        if energon:
            raise BadInput(f"energon=true is for format=webdataset, not {options.format}: leave it out")
        energon = False
    elif energon is None:
        energon = energon_is_installed()
    name = options.name or " + ".join(dict.fromkeys(run.name for run in runs))
    return replace(options, energon=energon, name=name)


def _described(options: ExportOptions, runs: list[SourceRun], scores: Scores) -> dict[str, Any]:
    """Return what decides the export's bytes, in json types."""
    own = {name: value for name, value in asdict(options).items() if name not in ELSEWHERE}
    own = {name: value for name, value in own.items() if value is not None or name not in CHOICE}
    measured = {"scores": found} if (found := scores.described()) else {}
    licence = asdict(find_licence(options, runs))
    return {**own, "license": licence, "runs": [run.described() for run in runs], **measured}


def _index(work: Work, runs: list[SourceRun], say: Say) -> None:
    """Read and check every shard that was not read yet."""
    owners = [(run, shard) for run in runs for shard in run.shards]

    def read(number: int) -> None:
        run, shard = owners[number]
        if not work.has_index(number, stamp_of(shard.tar)):
            work.save_index(number, index_shard(run, shard))

    together(read, range(len(owners)), _AT_ONCE)
    say(f"read {len(owners)} shards")


def _write_pieces(work: Work, view: View, form: Format) -> dict[str, dict[str, Any]]:
    """Link, or write, read back and move into place, every file that is not there yet; return the records by path."""
    records: dict[str, dict[str, Any]] = {}
    left = []
    for piece in view.pieces:
        name = view.path(piece)
        if record := form.link(view, piece, work.out / name) or work.piece(name):
            records[name] = record
        else:
            left.append(piece)
    _check_space(work, left)

    def write(piece: Piece) -> tuple[str, dict[str, Any]]:
        name = view.path(piece)
        view.check_unchanged(piece)
        new, target = work.new / name.replace("/", "."), work.out / name
        remove(new)
        try:
            record = form.write(view, piece, new)
        finally:
            view.check_unchanged(piece)  # whatever went wrong, another tar by now is the reason
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(target)
        move(new, target)
        work.save_piece(name, record)
        return name, record

    records |= together(write, left, _AT_ONCE)
    return {name: {**records[name], "samples": piece.samples} for piece in view.pieces for name in [view.path(piece)]}


def _check_space(work: Work, pieces: list[Piece]) -> None:
    """See that what is still to be written fits; what could be linked takes no room."""
    needed, free = sum(piece.size for piece in pieces), shutil.disk_usage(work.path).free
    if needed > free:
        raise BadInput(
            f"{work.dest.parent} has {human_bytes(free)} free and the export needs {human_bytes(needed)} more: "
            "free some and run the same command again, or choose another destination"
        )


def _table(work: Work, view: View, stats: Stats) -> Stats:
    """Write metadata.parquet, and count on the way."""

    def counted() -> Iterator[pa.Table]:
        for rows in in_groups(map(view.rows, range(len(view.tars)))):
            stats.add(rows)
            yield rows

    new = work.new / METADATA
    written = write_metadata(new, view.schema, counted())
    sync(new)
    if pq.ParquetFile(new).metadata.num_rows != written:
        raise OSError(f"{new} was read back without all of its rows")
    move(new, work.out / METADATA)
    return stats
