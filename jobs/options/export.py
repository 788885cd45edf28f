"""What ``python -m jobs.export`` can be told: each option once, as in ``jobs.options.schema``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from jobs.base.errors import BadInput
from jobs.options.fields import check_group, option, shown

FORMATS = ("webdataset", "parquet", "mds", "imagefolder")
ELSEWHERE = ("dest", "hub", "partial")  # options that decide no byte of an export
SPLITS = ("train", "validation", "test")
_WORD = re.compile(r"([a-z_]+)=(.*)", re.DOTALL)
_SUM_ERROR = 1e-6  # by which shares may miss 1, since 1/3 cannot be written


@dataclass(frozen=True)
class ExportOptions:
    """How an export is made; all but ``ELSEWHERE`` decides its bytes."""

    format: str = option("webdataset", "what is written", choices=FORMATS)
    shard_mb: float = option(
        1000.0, "size of the export's shards in MB (10^6 bytes); 0: shards as the runs have them", least=0
    )
    split: str | None = option(
        None, "shares of train, validation and test, like 0.98,0.01,0.01, by prompt; null: all is train"
    )
    license: str | None = option(
        None,
        "licence of the data set, as the Hugging Face hub names it; null: that of the checkpoint, where it says so",
    )
    name: str | None = option(None, "what the card calls the data set; null: the runs' names")
    energon: bool | None = option(
        None, "whether to add .nv-meta for Megatron-Energon, by its own program; null: where that is installed"
    )
    dest: str | None = option(
        None, "store that the whole export is copied to: s3://bucket/folder, gs://bucket/folder or file:///folder"
    )
    hub: str | None = option(None, "data set on the Hugging Face hub that the whole export is copied to, as OWNER/NAME")
    partial: bool = option(False, "export what there is of runs that are not finished")

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of the splits, in the order of ``SPLITS``.

        Raises:
            BadInput: ``split`` is not one to three numbers that make 1.
        """
        if self.split is None:
            return (1.0,)
        try:
            shares = tuple(float(part) for part in self.split.split(","))
        except ValueError:
            shares = ()
        if not 1 <= len(shares) <= len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > _SUM_ERROR:
            raise BadInput(
                f"split must be the shares of {', '.join(SPLITS)}, which make 1, like 0.98,0.01,0.01, "
                f"not {shown(self.split)}"
            )
        return shares


def parse_export(words: Sequence[str]) -> tuple[list[str], ExportOptions]:
    """Split a command line into paths and options, which may stand in any order.

    A word is an option where letters and ``=`` begin it; a folder of such a name is written ``./w=0.5``.

    Raises:
        BadInput: an option does not exist, is given twice, or has a value that it does not take.
    """
    paths, given = [], dict[str, Any]()
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None:
            paths.append(word)
            continue
        name, value = match.groups()
        if name in given:
            raise BadInput(f"{name} is given twice: leave one of them out")
        given[name] = {"null": None, "true": True, "false": False}.get(value, value)
    known = [one.name for one in fields(ExportOptions)]
    for name in sorted(given.keys() - {*known}):
        raise BadInput(f"there is no option '{name}': jobs.export takes {', '.join(known)}")
    defaults = {one.name: one.default for one in fields(ExportOptions)}
    options = ExportOptions(**check_group({**defaults, **given}, ExportOptions))
    _ = options.shares  # refuses a wrong one
    return paths, options


def export_help() -> str:
    """Return the options as ``--help`` shows them, a line each."""
    rows = [(f"{one.name}={_default(one.default)}", one.metadata) for one in fields(ExportOptions)]
    return "\n".join(f"  {name:<24}{_meaning(metadata)}" for name, metadata in rows)


def export_table() -> str:
    """Return the options as a table of the documentation."""
    rows = [f"| `{one.name}` | `{_default(one.default)}` | {_meaning(one.metadata)} |" for one in fields(ExportOptions)]
    return "\n".join(["| option | default | meaning |", "| -- | -- | -- |", *rows])


def _default(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _meaning(metadata: Any) -> str:
    choices = metadata["limits"]["choices"]
    return f"{metadata['help']}: {', '.join(choices)}" if choices else str(metadata["help"])
