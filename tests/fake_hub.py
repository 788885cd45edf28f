"""A stand-in for the model hub on the loopback interface: one repository, byte ranges, gates, and lines that drop.

The real hub cannot be reached from where tests run; the client is the real one.
"""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class FakeHub:
    """Serves the files of a folder as one repository.

    Attributes:
        requests: (method, path, Range header or "") of each request.
        gate: HTTP status and ``X-Error-Code`` with which files are refused; None: they are given.
        drop: names of files of which only the first half comes, once.
    """

    def __init__(self, repository: str, folder: Path):
        self.repository = repository
        self.reset(folder)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def reset(self, folder: Path) -> None:
        """Be as at first, with these files."""
        self.folder = folder
        self.commit = "c" * 40
        self.requests: list[tuple[str, str, str]] = []
        self.gate: tuple[int, str] | None = None
        self.drop: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def files(self) -> dict[str, bytes]:
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}

    def info(self) -> dict[str, Any]:
        return {
            "id": self.repository,
            "modelId": self.repository,
            "sha": self.commit,
            "private": False,
            "tags": [],
            "downloads": 0,
            "siblings": [{"rfilename": name} for name in sorted(self.files())],
        }

    def tree(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": name}
            for name, data in sorted(self.files().items())
        ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def log_message(self, *_: Any) -> None:
                pass

            def _answer(self) -> None:
                wanted = self.headers.get("Range", "")
                path = self.path.partition("?")[0]
                hub.requests.append((self.command, path, wanted))
                if f"/{hub.repository}" not in path:
                    self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                elif path.startswith("/api/"):
                    self._send(200, json.dumps(hub.tree() if "/tree/" in path else hub.info()).encode(), {})
                else:
                    _, _, rest = path.partition("/resolve/")
                    revision, _, name = rest.partition("/")
                    self._file(revision, name, wanted)

            def _file(self, revision: str, name: str, wanted: str) -> None:
                data = hub.files().get(name)
                if hub.gate:
                    self._send(hub.gate[0], b"{}", {"X-Error-Code": hub.gate[1]})
                elif revision not in ("main", hub.commit):
                    self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                elif data is None:
                    self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": hub.commit})
                else:
                    start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", wanted)) else 0
                    headers = {
                        "X-Repo-Commit": hub.commit,
                        "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
                        "Accept-Ranges": "bytes",
                    }
                    if start:
                        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                    part = data[start:]
                    cut = len(part) // 2 if self.command == "GET" and name in hub.drop else None
                    if cut is not None:
                        hub.drop.discard(name)
                    self._send(206 if start else 200, part, headers, cut)

            def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body[:cut])
                if cut is not None:
                    self.close_connection = True

        return Handler
