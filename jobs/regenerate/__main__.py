"""Make samples of a finished run again and compare: ``python -m jobs.regenerate RUN KEY [KEY ...]``.

Exit code 0: the same bytes. 1: something differs, and the line says what. 2: it cannot be tried. Bytes can only be the
same on the same kind of device with the same versions of libraries; what differs there is named too.
"""

import argparse
import sys
from pathlib import Path

from jobs.base.errors import BadInput, refuse
from jobs.regenerate.remake import open_finished, remake
from jobs.store.mirror import opened


def main(arguments: list[str] | None = None) -> int:
    """Make each sample, and print a line of each."""
    parser = argparse.ArgumentParser(prog="python -m jobs.regenerate", description=__doc__)
    parser.add_argument("run", help="a run's directory, such as outputs/demo-shapes, or its address in a store")
    parser.add_argument("keys", nargs="+", metavar="KEY", help="keys of samples, such as 00000000_0000")
    parser.add_argument("--out", type=Path, help="a folder to write what was made into")
    parser.add_argument("--device", help="auto, cuda or cpu; default: as the run was told")
    parser.add_argument("--prompt-file", help="where the run's prompt file lies by now")
    given = parser.parse_args(arguments)
    changes = {"device": given.device, "prompt_file": given.prompt_file}
    whole = True
    try:
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
        with opened(given.run) as directory:
            run = open_finished(directory, {name: value for name, value in changes.items() if value})
            for remade in remake(run, given.keys):
                print(remade.said, flush=True)
                whole &= remade.same
                if given.out and remade.media:
                    (given.out / f"{remade.key}.{run.media.name}").write_bytes(remade.media)
    except BadInput as error:
        moved = "; --prompt-file says where the run's lies by now" if str(error).startswith("prompt_file ") else ""
        refuse(f"{error}{moved}")
    except OSError as error:
        refuse(f"{error.filename or given.out} cannot be written or read: {error.strerror}")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
