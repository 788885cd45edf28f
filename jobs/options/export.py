"""What ``python -m jobs.export`` can be told: each option once, as in ``jobs.options.schema``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.base.errors import BadInput
from jobs.options.fields import option, shown
from jobs.options.words import read_group, split_words

FORMATS = ("webdataset", "parquet", "mds", "imagefolder")
ELSEWHERE = ("dest", "hub", "partial")  # options that decide no byte of an export
CHOICE = ("where", "best_of", "by")  # options that choose samples; where they are null, nothing is said of them
SPLITS = ("train", "validation", "test")
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
    where: str | None = option(
        None, "which samples are kept: SQL over the columns of metadata.parquet, like aesthetic > 5.5"
    )
    best_of: int | None = option(None, "keep so many samples of each prompt; needs by", least=1)
    by: str | None = option(None, "the column, or SQL, of which best_of keeps the highest")
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
        if not 1 <= len(shares) <= len(SPLITS) or min(shares) < 0 or not abs(sum(shares) - 1) <= _SUM_ERROR:  # nan
            raise BadInput(
                f"split must be the shares of {', '.join(SPLITS)}, which make 1, like 0.98,0.01,0.01, "
                f"not {shown(self.split)}"
            )
        return shares


def parse_export(words: Sequence[str]) -> tuple[list[str], ExportOptions]:
    """Split a command line into paths and options; see ``split_words`` and ``read_export``."""
    paths, given = split_words(words)
    return paths, read_export(given)


def read_export(given: dict[str, Any]) -> ExportOptions:
    """Return the options of an export, those that are not given at their defaults; see ``read_group``."""
    options: ExportOptions = read_group(given, ExportOptions, "jobs.export")
    _ = options.shares  # refuses a wrong one
    return options
