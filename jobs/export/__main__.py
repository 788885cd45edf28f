"""Make a data set for others of one run or several: ``python -m jobs.export RUN [RUN ...] DEST [option=value ...]``.

A RUN is a directory, or an address in a store, like s3://BUCKET/FOLDER/NAME. DEST is a new folder that holds only what
is public. It is there once it is whole; until then there is DEST.partial, and the same command goes on with it. With
dest= or hub= it is then copied elsewhere, which goes on likewise. Exit code 0: all is there. 2: it cannot be made or
copied, and one sentence says why.
"""

import sys

import pyarrow as pa

from jobs.base.errors import BadInput, refuse
from jobs.base.output import print_all
from jobs.export.export import export
from jobs.options.export import ExportOptions, parse_export
from jobs.options.words import group_help


def main(arguments: list[str] | None = None) -> int:
    """Make the export, and print what was done."""
    words = sys.argv[1:] if arguments is None else arguments
    if {"--help", "-h"} & {*words}:
        print_all(f"{__doc__}\n\nOptions:\n{group_help(ExportOptions)}")
        return 0
    _do_without_pandas()
    try:
        paths, options = parse_export(words)
        if len(paths) < 2:
            raise BadInput("name at least one run and then the destination, like: outputs/demo-shapes my-dataset")
        *runs, dest = paths
        export(runs, dest, options, lambda line: print(line, flush=True))
    except BadInput as error:
        refuse(str(error))
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    return 0


class _NoPandas:
    """A finder of modules that finds no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Refuse it, and leave all others to the next finder."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _do_without_pandas() -> None:
    """Have pyarrow find none when it first looks, which takes half a second: it is to tell objects that are not here.

    Whoever imports it afterwards finds it.
    """
    sys.meta_path.insert(0, _NoPandas)
    pa.array([None])
    sys.meta_path.remove(_NoPandas)


if __name__ == "__main__":
    sys.exit(main())
