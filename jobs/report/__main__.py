"""Make report.html of a run, finished or not: ``python -m jobs.report RUN``. One page, which needs no other file.

With --serve it is also served to browsers of this machine, where it shows whole pictures and clips from the tars.
"""

import argparse
import sys
from pathlib import Path

from jobs.base.disk import disk_trouble, human_bytes
from jobs.base.errors import BadInput, first_line, refuse
from jobs.report.page.build import CLIPS, IMAGES, make_report
from jobs.report.page.serve import Server
from jobs.store.mirror import working_directory
from jobs.store.rundir import RunDir


def main() -> None:
    """Make the report, and serve it if asked to. Exit code 2 where it cannot be made, and one sentence says why."""
    parser = argparse.ArgumentParser(prog="python -m jobs.report", description=__doc__)
    parser.add_argument("run", help="a run's directory, such as outputs/demo-shapes")
    parser.add_argument(
        "--samples", type=int, metavar="N",
        help=f"how many samples it shows at most; without it {IMAGES:,} images, or {CLIPS:,} clips",
    )  # fmt: skip
    parser.add_argument("--serve", action="store_true", help="serve it to this machine until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="with --serve, the port; without it any that is free")
    arguments = parser.parse_args()
    try:
        run = RunDir(working_directory(arguments.run))
        if arguments.samples is not None and arguments.samples < 1:
            raise BadInput(f"--samples must be at least 1, not {arguments.samples}")
        if not 0 <= arguments.port < 65536:
            raise BadInput(f"--port must be below 65536, not {arguments.port}")
        server = _server(run, arguments.port) if arguments.serve else None  # before what takes time
        target = make_report(run, arguments.samples)
        print(f"{target}: {human_bytes(target.stat().st_size)}", flush=True)
        if server:
            print(f"{server.address} until Ctrl-C", flush=True)
            server.serve_forever()
    except BadInput as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"there is no new report.html: {disk_trouble(error, Path(arguments.run)) or first_line(error)}")
    except KeyboardInterrupt:
        sys.exit(130)


def _server(run: RunDir, port: int) -> Server:
    run.read()  # refuses what is no run
    return Server(run, port)


if __name__ == "__main__":
    main()
