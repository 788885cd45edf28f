"""Puts a report together, one file that needs no other, and moves it into place whole."""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.options.schema import IMAGE_FORMATS
from jobs.report.ledger import read_ledger
from jobs.report.page.choose import finished_shards
from jobs.report.page.columns import make_table
from jobs.report.page.facts import facts
from jobs.report.page.samples import Entry, read_entries
from jobs.report.status import Status, read_status
from jobs.store.atomic import write_parts
from jobs.store.rundir import RunDir

NAME = "report.html"
IMAGES, CLIPS = 10_000, 1_000  # that a report shows at most, unless it is told
AT_THE_END = 10  # of which the one at the end of a run shows one in so many
CHUNK = 100  # samples whose thumbnails, or json, are one element of the page
_SCRIPTS = ("data.js", "overview.js", "gallery.js", "detail.js")  # one script, in this order
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def make_report(run: RunDir, most: int | None = None, *, status: Status | None = None, brief: bool = False) -> Path:
    """Write ``report.html`` into a run's directory; the same state of the run gives the same bytes.

    Args:
        run: the directory.
        most: samples that are shown at most; None: ``IMAGES`` or ``CLIPS``.
        status: the run's, where it was read already.
        brief: show fewer samples, as a report that nobody asked for.

    Raises:
        BadInput: it is not a run's directory, or one of scores.
        OSError: the page cannot be written; what was there before still is.
    """
    record = run.read()
    if "scorer" in record["identity"]:
        raise BadInput(f"{run.path} holds scores of {run.path.resolve().parents[1]}: name that run")
    if most is None:
        most = IMAGES if record["identity"].get("image_format") in IMAGE_FORMATS else CLIPS
        most = most // AT_THE_END if brief else most
    done = finished_shards(run)
    entries = read_entries(done, most)
    told = facts(run, status or read_status(run), read_ledger(run), done, entries, most)
    target = run.path / NAME
    write_parts(target, (part.encode(errors="replace") for part in page(told, entries)))
    return target


def page(told: dict[str, Any], entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the page's text in parts."""
    style, frame = _own("report.css"), _own("report.html")
    script = "".join(map(_own, _SCRIPTS))
    values = {
        "title": html.escape(f"{told['name']}: report"),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "facts": _json(told),
        "samples": _json(_samples(entries)),
    }
    before, _, after = frame.partition("{{chunks}}")
    yield _PLACE.sub(lambda match: values[match[1]], before)
    for number, begin in enumerate(range(0, len(entries), CHUNK)):
        chunk = entries[begin : begin + CHUNK]
        thumbnails = "".join(_base64(one.thumbnail) for one in chunk)
        infos = _base64(gzip.compress(json.dumps([one.info for one in chunk]).encode(), 6, mtime=0))
        yield f'<script type="text/plain" id="thumbnails-{number}">{thumbnails}</script>\n'
        yield f'<script type="text/plain" id="infos-{number}">{infos}</script>\n'
    yield _PLACE.sub(lambda match: values[match[1]], after)


def _samples(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return what the page's script has to know of samples at once."""
    table = make_table([{"key": one.key, **one.values} for one in entries])
    tars = {name: place for place, name in enumerate(dict.fromkeys(one.tar for one in entries))}
    return {
        "count": len(entries),
        "chunk": CHUNK,
        "columns": table.columns,
        "alike": table.alike,
        "tars": list(tars),
        "tar": [tars[one.tar] for one in entries],
        "extension": [one.extension for one in entries],
        "start": [one.start for one in entries],
        "size": [one.size for one in entries],
        "thumbnail": [len(_base64(one.thumbnail)) for one in entries],
        "frames": [one.frames for one in entries],
        "trouble": {place: one.trouble for place, one in enumerate(entries) if one.trouble},
    }


def _own(name: str) -> str:
    return files("jobs.report.page").joinpath(name).read_text(encoding="utf-8")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _hash(text: str) -> str:
    """Return what the page's security policy knows a style or script by."""
    return _base64(hashlib.sha256(text.encode()).digest())


def _json(value: Any) -> str:
    """Return JSON that no text in it can end: the parser of a page looks for ``</script`` and ``<!--``."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
