"""A stand-in for the hub's side of uploads on the loopback interface: one data set's repository, LFS and commits.

The real hub cannot be reached from where tests run; the client is the real one, without its Xet protocol, whose server
is not to be had.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_token"


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients are killed."""


class FakeUploads:
    """Takes the files of one repository.

    Attributes:
        files: path -> contents, as committed; None: there is no such repository.
        objects: sha256 -> contents of large files that were received.
        requests: (method, path) of each request.
        before: asked before each request, with method and path; an HTTP status: the answer.
    """

    def __init__(self, repository: str):
        self.repository = repository
        self.files: dict[str, bytes] | None = None
        self.large: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.commits: list[list[str]] = []
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], int | None] = lambda method, path: None
        self.rejects_card = False
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def head(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        """Return status and answer: json, or contents."""
        api = f"/api/datasets/{self.repository}"
        if token != f"Bearer {TOKEN}" and not path.startswith("/lfs/"):
            return 401, {"error": "Invalid username or password."}
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": "owner"}
        if path == "/api/repos/create":
            self.files = {".gitattributes": b""} if self.files is None else self.files
            return 200, {"url": f"{self.url}/datasets/{self.repository}", "name": self.repository, "id": "1"}
        if path == "/api/validate-yaml":
            return (400, {"errors": [{"message": '"license" must be one of'}]}) if self.rejects_card else (200, {})
        if path.startswith("/lfs/"):
            sha256 = hashlib.sha256(body).hexdigest()
            if sha256 != path.removeprefix("/lfs/"):
                return 400, {}
            self.objects[sha256] = body
            return 200, {}
        if self.files is None:
            return 404, {"error": "Repository not found"}
        if path.endswith("/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self._object(one) for one in json.loads(body)["objects"]]}
        if path.startswith(f"{api}/preupload/"):
            return 200, {"files": [self._mode(one["path"]) for one in json.loads(body)["files"]]}
        if path.startswith(f"{api}/commit/"):
            return self._commit([json.loads(line) for line in body.splitlines()])
        if path.startswith(f"{api}/tree/"):
            return 200, [self._entry(name, data) for name, data in sorted(self.files.items())]
        if "/resolve/" in path:
            name = path.partition("/resolve/")[2].partition("/")[2]
            return (200, self.files[name]) if name in self.files else (404, {"error": "Entry not found"})
        siblings = [{"rfilename": name} for name in self.files]
        return 200, {"id": self.repository, "sha": self.head, "siblings": siblings, "private": True, "tags": []}

    def _object(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = asked["oid"] in self.objects
        return asked if known else {**asked, "actions": {"upload": {"href": f"{self.url}/lfs/{asked['oid']}"}}}

    def _mode(self, path: str) -> dict[str, Any]:
        large = path.endswith((".tar", ".parquet", ".png"))
        found: dict[str, Any] = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if self.files and path in self.files:
            found["oid"] = self._oid(path, self.files[path])
        return found

    def _commit(self, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        assert self.files is not None
        header, *operations = lines
        if header["value"].get("parentCommit", self.head) != self.head:
            return 412, {"error": "A commit has happened since. Please refresh and try again."}
        new = {}
        for one in operations:
            value = one["value"]
            if one["key"] == "lfsFile":
                if value["oid"] not in self.objects:
                    return 400, {"error": "LFS pointer pointed to a file that does not exist"}
                self.large.add(value["path"])
                new[value["path"]] = self.objects[value["oid"]]
            else:
                new[value["path"]] = base64.b64decode(value["content"])
        self.files |= new
        self.commits.append([*new])
        return 200, {
            "success": True,
            "commitOid": self.head,
            "commitUrl": f"{self.url}/datasets/{self.repository}/commit/{self.head}",
        }

    def _oid(self, path: str, data: bytes) -> str:
        if path in self.large:
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def _entry(self, path: str, data: bytes) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "size": len(data), "oid": self._oid(path, data)}
        return (
            {**entry, "lfs": {"oid": entry["oid"], "size": len(data), "pointerSize": 130}}
            if path in self.large
            else entry
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _all(self) -> None:
                path = self.path.partition("?")[0]
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                hub.requests.append((self.command, path))
                status = hub.before(self.command, path)
                if len(body) < length:  # the client is gone
                    return
                token = self.headers.get("Authorization", "")
                code, answer = (status, {"error": "later"}) if status else hub.answer(self.command, path, body, token)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                if "/resolve/" in path and code == 200:
                    self.send_header("X-Repo-Commit", "c" * 40)
                    self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
                if code == 404 and hub.files is None:
                    self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_HEAD = do_POST = do_PUT = _all

        return Handler
