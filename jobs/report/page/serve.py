"""Serves a run's report to this machine, with the stretches of its tars that it asks for."""

import errno
import os
import re
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from jobs.base.errors import BadInput
from jobs.report.page.build import NAME
from jobs.store.rundir import RunDir

_HERE = "127.0.0.1"
_TAR = re.compile(r"(?:(retry-\d+)/)?data/(\d+)\.tar")
_STRETCH = re.compile(r"bytes=(\d+)-(\d+)")


class Server(ThreadingHTTPServer):
    """Answers on this machine only, under a path that nobody can guess: others may work on it too.

    Args:
        run: whose report was made.
        port: 0 for any that is free.

    Raises:
        BadInput: the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, run: RunDir, port: int):
        try:
            super().__init__((_HERE, port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise BadInput(f"port {port} cannot be had ({error.strerror}): choose another with --port") from None
        self.run, self.token = run, secrets.token_urlsafe(16)

    @property
    def address(self) -> str:
        """Where the report is."""
        return f"http://{_HERE}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """Answer with the report, or with a stretch of a tar."""
        prefix = f"/{self.server.token}/"
        name = self.path.removeprefix(prefix) if self.path.startswith(prefix) else None
        try:
            if name == "":
                self._answer(HTTPStatus.OK, (self.server.run.path / NAME).read_bytes(), "text/html; charset=utf-8")
            elif name is not None and (tar := _TAR.fullmatch(name)):
                run = self.server.run.below(tar[1]) if tar[1] else self.server.run
                self._stretch(run, int(tar[2]))
            else:
                self.send_error(HTTPStatus.NOT_FOUND)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # whoever asked has gone on to another sample
        except (OSError, BadInput):
            self.send_error(HTTPStatus.NOT_FOUND)

    def _stretch(self, run: RunDir, shard: int) -> None:
        match = _STRETCH.fullmatch(self.headers.get("Range", ""))
        begin, last = (int(one) for one in match.groups()) if match else (0, -1)
        with run.open_tar(shard) as file:
            size = file.seek(0, os.SEEK_END)
            if not begin <= last < size:
                self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                return
            file.seek(begin)
            data = file.read(last + 1 - begin)
        self._answer(HTTPStatus.PARTIAL_CONTENT, data, "application/octet-stream", f"bytes {begin}-{last}/{size}")

    def _answer(self, status: HTTPStatus, data: bytes, kind: str, stretch: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if stretch:
            self.send_header("Content-Range", stretch)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing: a line for each picture helps nobody."""
